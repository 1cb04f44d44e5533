"""Kills the bot at every point between "accepted" and "delivered", troubles its surroundings, and audits what is left.

`python -m tests.faults --cycles 2000 --seed 7` is the soak; `test_faults.py` does less of the same.

    evidence   what database, files and channels say, and `notes` of what people were told
    audit      what must be true of that whenever nothing is under way; of what people decide: `decisions`
    people     what members do; `admins`: what is decided, from a confirmed price to a ban
    control    the line between the two processes
    points     where the process can be killed: each commit, network call, file operation, event of the engine
    troubles   what else can go wrong there: refused requests, a locked database, a full disk, a broken engine
    stack      the process that suffers: the real bot with a scripted engine, forked for each life
    life       one of that process, from outside
    world      the other side: the local Discord, its people, the files, and the bot's lives
    chapters   random cycles and the sweep over all points, from a seed
"""
