"""Parts of `campaign.py`, which the tests of reliability share: faults, and what counts as a good answer to them."""
