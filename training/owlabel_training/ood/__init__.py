"""OoD training: entropy maximisation and residual pattern learning."""
