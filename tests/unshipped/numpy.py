"""What a process of ours finds for numpy: no image has it. See tests/conftest.py."""

raise ImportError("numpy is there for the tests alone")
