"""What answers each address: `pictures` makes images, `about` tells, `page` shows, `answers` says what went wrong."""
