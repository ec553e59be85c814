/**
 * The dev ledger's database. World state is public; `hashed` is what everybody knows of private
 * data; `private` rows belong to one organisation each; `transient` keeps private data between
 * endorsement and commit, with the organisations whose peers got it.
 */
export const SCHEMA = `
CREATE TABLE IF NOT EXISTS block(
  number INTEGER PRIMARY KEY, previous_hash BLOB NOT NULL, data_hash BLOB NOT NULL,
  time_ms INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS tx(
  block INTEGER NOT NULL, position INTEGER NOT NULL, tx_id TEXT NOT NULL, code INTEGER NOT NULL,
  chaincode TEXT NOT NULL, event BLOB, envelope BLOB NOT NULL,
  PRIMARY KEY(block, position)) STRICT;
CREATE UNIQUE INDEX IF NOT EXISTS tx_by_id ON tx(tx_id) WHERE code <> 9;
CREATE INDEX IF NOT EXISTS tx_events ON tx(chaincode, block) WHERE event IS NOT NULL AND code = 0;
CREATE TABLE IF NOT EXISTS state(
  ns TEXT NOT NULL, key BLOB NOT NULL, block INTEGER NOT NULL, tx INTEGER NOT NULL,
  metadata TEXT, value BLOB NOT NULL, PRIMARY KEY(ns, key)) STRICT;
CREATE TABLE IF NOT EXISTS hashed(
  ns TEXT NOT NULL, collection TEXT NOT NULL, key_hash BLOB NOT NULL, value_hash BLOB NOT NULL,
  block INTEGER NOT NULL, tx INTEGER NOT NULL, metadata TEXT,
  PRIMARY KEY(ns, collection, key_hash)) STRICT;
CREATE TABLE IF NOT EXISTS private(
  msp TEXT NOT NULL, ns TEXT NOT NULL, collection TEXT NOT NULL, key_hash BLOB NOT NULL,
  block INTEGER NOT NULL, tx INTEGER NOT NULL, value BLOB NOT NULL,
  PRIMARY KEY(msp, ns, collection, key_hash)) STRICT;
CREATE TABLE IF NOT EXISTS transient(
  tx_id TEXT NOT NULL, ns TEXT NOT NULL, collection TEXT NOT NULL, hash BLOB NOT NULL,
  at_block INTEGER NOT NULL, msps TEXT NOT NULL, writes BLOB NOT NULL,
  PRIMARY KEY(tx_id, ns, collection, hash)) STRICT;
`;
