"""Whole fleets in virtual time: machines, faults, schedules. Knows no sockets and no torch."""
