"""What documents take from the code: `python -m tests.docs` (`make docs`) writes it between markers, tests compare."""
