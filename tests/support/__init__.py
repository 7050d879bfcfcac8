"""What tests share: servers, clients, stored data and checks."""
