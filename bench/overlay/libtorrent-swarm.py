"""The baseline of the overlay's benchmark: libtorrent doing the same work on loopback.

In: one JSON object a line. Out: one JSON object a line, after `{"version": ...}`. All sessions live in
this one process, each with an address of its own and libtorrent's default settings, except that
nothing is asked of the world outside (DHT, LSD, UPnP and NAT-PMP are off), and that uTP is off: on
loopback it is several times slower than TCP, and ours is TCP as well.

{"do": "round", "dir": D, "limit": B, "torrents": [{"path": P, "pieceBytes": N, "source": S,
 "wanted": {"PEER": [piece, ...]}}]} -> {"splitSeconds", "distributeSeconds", "sentBytes"}
    `limit`: bytes a second that each torrent's source may upload; 0 is no limit.
{"do": "fetch", "dir": D, "torrents": [index, ...]} -> {"regenerateSeconds"}
    A fresh peer gets the whole of those torrents of the last round, each from its source alone.
{"do": "forget"} -> {}   removes the last round.
"""
import json
import os
import shutil
import sys
import time

import libtorrent as lt

TIMEOUT_S = 300
TICK_S = 0.0005
NO_FLAGS = lt.torrent_flags.seed_mode & 0
QUIET = {
    "enable_dht": False,
    "enable_lsd": False,
    "enable_upnp": False,
    "enable_natpmp": False,
    "enable_outgoing_utp": False,
    "enable_incoming_utp": False,
    "alert_mask": lt.alert.category_t.status_notification | lt.alert.category_t.error_notification,
}


class Peer:
    """One session and the torrents that it has now, by number."""

    def __init__(self, number):
        self.host = f"127.0.1.{number + 1}"
        settings = {**QUIET, "listen_interfaces": f"{self.host}:0", "outgoing_interfaces": self.host}
        self.session = lt.session(settings)
        self.handles = {}
        self.sent_key = lt.find_metric_idx("net.sent_bytes")

    def port(self):
        deadline = time.monotonic() + 10
        while self.session.listen_port() == 0:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.host} does not listen")
            time.sleep(0.001)
        return self.session.listen_port()

    def add(self, number, info, folder, flags, wanted=None):
        params = lt.add_torrent_params()
        params.ti = info
        params.save_path = folder
        # Neither queued nor paused, as a client's user would have it that adds one by hand.
        params.flags &= ~(lt.torrent_flags.auto_managed | lt.torrent_flags.paused)
        params.flags |= flags
        if wanted is not None:
            chosen = set(wanted)
            params.piece_priorities = [4 if i in chosen else 0 for i in range(info.num_pieces())]
        self.handles[number] = self.session.add_torrent(params)

    def sent_bytes(self):
        self.session.post_session_stats()
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            for alert in self.session.pop_alerts():
                if isinstance(alert, lt.session_stats_alert):
                    return alert.values["net.sent_bytes"]
            time.sleep(TICK_S)
        raise TimeoutError("no statistics of a session")

    def finished(self):
        """How many torrents have all their wanted pieces since the last call."""
        count = 0
        for alert in self.session.pop_alerts():
            if isinstance(alert, lt.torrent_finished_alert):
                count += 1
            elif isinstance(alert, (lt.torrent_error_alert, lt.listen_failed_alert)):
                raise RuntimeError(alert.message())
        return count

    def clear(self):
        for handle in self.handles.values():
            self.session.remove_torrent(handle)
        self.handles = {}
        self.session.pop_alerts()


class Swarm:
    def __init__(self):
        self.peers = {}
        self.infos = []
        self.sources = []

    def peer(self, name):
        if name not in self.peers:
            self.peers[name] = Peer(len(self.peers))
        return self.peers[name]

    def connect(self, number, one, other):
        one.handles[number].connect_peer((other.host, other.port()))

    def round(self, order):
        torrents = order["torrents"]
        started = time.monotonic()
        self.infos = [torrent_of(one["path"], one["pieceBytes"]) for one in torrents]
        split = time.monotonic() - started
        self.sources = [self.peer(one["source"]) for one in torrents]
        for number, one in enumerate(torrents):
            source = self.sources[number]
            source.add(number, self.infos[number], os.path.dirname(one["path"]), lt.torrent_flags.seed_mode)
            source.handles[number].set_upload_limit(order["limit"])
            for name in one["wanted"]:
                self.peer(name).port()
            source.port()
        for peer in self.peers.values():
            peer.session.pop_alerts()
        sources = {id(source): source for source in self.sources}.values()
        before = sum(source.sent_bytes() for source in sources)
        started = time.monotonic()
        owed = 0
        for number, one in enumerate(torrents):
            owners = [self.peer(name) for name in sorted(one["wanted"])]
            for name in sorted(one["wanted"]):
                folder = os.path.join(order["dir"], name)
                os.makedirs(folder, exist_ok=True)
                self.peer(name).add(number, self.infos[number], folder, NO_FLAGS, one["wanted"][name])
            for at, owner in enumerate(owners):
                self.connect(number, owner, self.sources[number])
                for other in owners[at + 1 :]:
                    self.connect(number, owner, other)
            owed += len(owners)
        self.wait(owed)
        seconds = time.monotonic() - started
        sent = sum(source.sent_bytes() for source in sources) - before
        return {"splitSeconds": split, "distributeSeconds": seconds, "sentBytes": sent}

    def fetch(self, order):
        reader = self.peer("reader")
        reader.port()
        reader.session.pop_alerts()
        os.makedirs(order["dir"], exist_ok=True)
        started = time.monotonic()
        for number in order["torrents"]:
            reader.add(number, self.infos[number], order["dir"], NO_FLAGS)
            self.connect(number, reader, self.sources[number])
        self.wait(len(order["torrents"]), [reader])
        seconds = time.monotonic() - started
        shutil.rmtree(order["dir"], ignore_errors=True)
        return {"regenerateSeconds": seconds}

    def wait(self, owed, peers=None):
        deadline = time.monotonic() + TIMEOUT_S
        while owed > 0:
            for peer in peers or self.peers.values():
                owed -= peer.finished()
            if time.monotonic() > deadline:
                raise TimeoutError(f"{owed} downloads did not end within {TIMEOUT_S} s")
            time.sleep(TICK_S)

    def forget(self):
        for peer in self.peers.values():
            peer.clear()
        return {}


def torrent_of(path, piece_bytes):
    files = lt.file_storage()
    lt.add_files(files, path)
    torrent = lt.create_torrent(files, piece_bytes, lt.create_torrent.v1_only)
    torrent.set_priv(True)
    lt.set_piece_hashes(torrent, os.path.dirname(path))
    return lt.torrent_info(torrent.generate())


def main():
    swarm = Swarm()
    print(json.dumps({"version": lt.__version__}), flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        try:
            if order["do"] == "round":
                answer = swarm.round(order)
            elif order["do"] == "fetch":
                answer = swarm.fetch(order)
            else:
                answer = swarm.forget()
        except Exception as error:  # the other side decides what a failure means
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


main()
