"""What `synthetic.py` is made of, shared with `suppression.py` and `paper.py`."""
