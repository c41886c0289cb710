"""`leaderlock monitor`: watches elections from outside. Needs the extra `monitor`.

    alarms, beliefs, state      what was seen, and what is alarming in it: pure, told the time
    report                      what nodes may say
    watcher                     reads the store
    webhook                     tells other programs
    metrics, web, server        shows it

`state` and what it is made of know no clock, socket or thread, and everything in them has a bound:
a monitor runs for weeks.
"""
