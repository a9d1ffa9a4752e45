"""Networks, the plan that says how to use them, their weights, and prediction over patches."""
