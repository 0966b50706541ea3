/**
 * Hashes of the code that rows are made by: of a projection's own rules, and of the mappings and readers that make facts. They change with every
 * change of that code, also with one that changes no row: they say where to look, not that something is wrong.
 */
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { above } from '../files/above.js';

/** Folders whose code decides what rows are made; the runtime beside them only carries them. */
const RULES = /^(?:projections|src\/(?:mapping|text|time|inbound\/hl7))\//;
/** Code that only looks at what was made. */
const LOOKS = /\/(?:verify|sweep)\.[jt]s$/;
const IMPORT = /(?:from|import)\s*\(?\s*['"](\.{1,2}\/[^'"]+)['"]/g;
const MAPPING = ['src/mapping/map.js', 'src/inbound/hl7/reader.js'];

/** Of the built program, or of the sources where these run. */
const root = path.dirname(above('projections'));
const known = new Map<string, string | null>();

/** Hash of a projection's own code; null for a definition that is no folder of `projections/`. */
export function codeHash(name: string): string | null {
  return remembered(`projections/${name}`, () => hashFrom([`projections/${name}/index.js`]));
}

/** Hash of the mappings, and of the readers before them. */
export function mappingHash(): string | null {
  return remembered('mapping', () => hashFrom(MAPPING));
}

function remembered(key: string, make: () => string | null): string | null {
  const found = known.get(key);
  if (found !== undefined) return found;
  const made = make();
  known.set(key, made);
  return made;
}

function hashFrom(entries: readonly string[]): string | null {
  const files = new Map<string, Buffer>();
  for (const entry of entries) collect(path.join(root, entry), files);
  if (files.size === 0) return null;
  const hash = createHash('sha256');
  for (const [file, bytes] of [...files].sort(([left], [right]) => (left < right ? -1 : 1))) {
    hash.update(`${file}\n${bytes.length}\n`).update(bytes);
  }
  return hash.digest('base64url');
}

/** The file and what it imports, as far as that makes rows. */
function collect(wanted: string, files: Map<string, Buffer>): void {
  const file = [wanted, wanted.replace(/\.js$/, '.ts')].find((candidate) => existsSync(candidate));
  if (file === undefined) return;
  const name = path.relative(root, file).replaceAll(path.sep, '/');
  if (files.has(name) || !RULES.test(name) || LOOKS.test(name)) return;
  const bytes = readFileSync(file);
  files.set(name, bytes);
  for (const [, specifier] of bytes.toString('utf8').matchAll(IMPORT)) {
    collect(path.resolve(path.dirname(file), specifier as string), files);
  }
}
