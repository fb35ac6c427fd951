"""What an operator sees and does: views of the running gateway, and the page that shows them."""
