/** The part of sodium-native 5 (libsodium) that the hub uses; the package brings no types. */
declare module 'sodium-native' {
  interface SodiumNative {
    readonly crypto_aead_xchacha20poly1305_ietf_ABYTES: number;
    readonly crypto_aead_xchacha20poly1305_ietf_NPUBBYTES: number;
    readonly crypto_aead_xchacha20poly1305_ietf_KEYBYTES: number;
    /** Seals `m` into `c`, which is longer by `ABYTES`. `nsec` is always null. */
    crypto_aead_xchacha20poly1305_ietf_encrypt(
      c: Uint8Array,
      m: Uint8Array,
      ad: Uint8Array | null,
      nsec: null,
      npub: Uint8Array,
      k: Uint8Array,
    ): number;
    /** Opens `c` into `m`, which is shorter by `ABYTES`; throws where it does not verify. */
    crypto_aead_xchacha20poly1305_ietf_decrypt(
      m: Uint8Array,
      nsec: null,
      c: Uint8Array,
      ad: Uint8Array | null,
      npub: Uint8Array,
      k: Uint8Array,
    ): number;
    /** Keyed BLAKE2b of `input` into `output` (16…64 bytes); `key` has 16…64 bytes. */
    crypto_generichash(output: Uint8Array, input: Uint8Array, key?: Uint8Array): void;
    randombytes_buf(buffer: Uint8Array): void;
  }
  const sodium: SodiumNative;
  export default sodium;
}
