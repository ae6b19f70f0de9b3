"""The stories of `muster demo --story NAME`: what happens to the network while a job runs."""
