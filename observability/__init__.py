"""What operators see, as code: dashboards and the rules that are made of something else, written into the chart."""
