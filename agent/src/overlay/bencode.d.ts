/** The part of bencode 4 that dht-socket.ts uses; the package ships no types. */
declare module 'bencode' {
  const bencode: { decode(bytes: Uint8Array): unknown };
  export default bencode;
}
