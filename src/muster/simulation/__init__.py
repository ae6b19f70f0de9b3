"""Whole fleets in virtual time: machines, faults, schedules, and the judge of what came out.

`virtual` is the loop and the network, `trainers` stand in for torch, `judging` runs and checks an hour.
Knows no sockets and no torch.
"""
