"""Text from outside and text for people.

It is decoded here, web addresses are compared by what they mean, control characters are escaped and secrets masked, and
numbers and errors are told in words. All of it takes time in proportion to the length of the text.
"""
