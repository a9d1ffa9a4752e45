"""Makes what lies beside this file importable by every test: the makers of phantoms."""
