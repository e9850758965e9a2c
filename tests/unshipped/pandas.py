"""What a process of ours finds for pandas: no image has it. See tests/conftest.py."""

raise ImportError("pandas is there for the tests alone")
