"""An unmodified Flower app as a task: its ClientApp does the local work, Muster everything between."""
