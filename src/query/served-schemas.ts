/** The graphs as text, by name: what is served, and what a plan compares. */
import { readFileSync } from 'node:fs';
import { above } from '../files/above.js';

/** SDL of the clinical and of the anonymized graph. */
export function servedSchemas(): { readonly clinical: string; readonly analytics: string } {
  const read = (name: string): string => readFileSync(above(`schema/${name}.graphql`), 'utf8');
  return { clinical: read('clinical'), analytics: read('analytics') };
}
