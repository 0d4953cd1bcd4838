"""Chips that are not at hand: profiles, projections, energy, money, carbon."""
