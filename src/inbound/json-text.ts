const UTF8 = new TextDecoder('utf-8', { fatal: true });

/**
 * Text of a JSON body: UTF-8 (RFC 8259 §8.1), a byte order mark is skipped.
 * @returns undefined where the bytes are not UTF-8
 */
export function jsonText(bytes: Buffer): string | undefined {
  try {
    return UTF8.decode(bytes);
  } catch {
    return undefined;
  }
}
