"""Dashboards, rules, alerts and runbooks as sources, and the code that writes them into the chart."""
