"""The user's own pictures: finding, reading and writing them, with everything that their files hold beside pixels."""
