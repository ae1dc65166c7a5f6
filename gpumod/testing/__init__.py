"""Shipped stand-ins and makers for tests and the demo: models, engines, cards, runners, clocks."""
