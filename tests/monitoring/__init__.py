"""What watches the service: alerts, dashboard, and the stack that runs them."""
