"""What tests share: this checkout, small projects, tiny models, servers and scripted teachers."""
