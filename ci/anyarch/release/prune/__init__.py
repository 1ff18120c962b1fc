"""What nothing needs any more: found, weighed, and deleted in an order that leaves nothing broken."""
