"""Jobs that adapt a model in use to a change: who needs what, who takes part, who asks how often."""
