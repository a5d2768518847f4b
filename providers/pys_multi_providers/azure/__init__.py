"""Azure: Functions on the Flex Consumption plan, and what stands around them."""
