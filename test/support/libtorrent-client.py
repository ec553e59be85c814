"""An ordinary client by libtorrent (python3-libtorrent): fetches, or seeds a file that it has.

libtorrent-client.py fetch|seed TORRENT FOLDER ADDRESS
Prints one JSON line when it has everything; then it goes on until its standard input ends.
Contacts the torrent's trackers and their peers only: no DHT, no local discovery, no port mapping.
"""
import json
import sys
import time

import libtorrent as lt

mode, torrent, folder, address = sys.argv[1:]
session = lt.session({
    "listen_interfaces": f"{address}:0",
    "enable_dht": False,
    "enable_lsd": False,
    "enable_upnp": False,
    "enable_natpmp": False,
    "alert_mask": 0,
})
handle = session.add_torrent({"ti": lt.torrent_info(torrent), "save_path": folder})
while not handle.status().is_seeding:
    state = handle.status()
    if state.errc.value() != 0:
        sys.exit(f"{state.errc.message()}")
    time.sleep(0.05)
session.post_torrent_updates()
handle.flush_cache()
print(json.dumps({"complete": True, "port": session.listen_port()}), flush=True)
sys.stdin.read()
