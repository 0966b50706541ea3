/**
 * Words that stand for one another when somebody searches: `heart attack, myocardial infarction, mi`. A small list, one group a line, in
 * schema/synonyms.txt, or in a file of the site's own; it is read at the start and touches no index, so a change needs no rebuild.
 */
import { readFileSync } from 'node:fs';
import { wordsOf } from '../../../projections/search/document.js';
import { above } from '../../files/above.js';

export interface Phrase {
  /** How many tokens it takes. */
  readonly tokens: number;
  readonly words: readonly string[];
  readonly others: readonly (readonly string[])[];
}

export class Synonyms {
  private readonly groups = new Map<string, readonly (readonly string[])[]>();
  private longest = 1;

  /** @param text one group a line, entries separated by commas; `#` begins a comment */
  constructor(text: string) {
    for (const line of text.split('\n')) {
      const entries = line
        .replace(/#.*/, '')
        .split(',')
        .map(wordsOf)
        .filter((words) => words.length > 0);
      for (const words of entries) {
        const key = words.join(' ');
        const others = entries.filter((other) => other.join(' ') !== key);
        this.groups.set(key, [...(this.groups.get(key) ?? []), ...others]);
        this.longest = Math.max(this.longest, words.length);
      }
    }
  }

  /** The site's list, or the one that comes with the hub. @throws where the file cannot be read */
  static load(file?: string): Synonyms {
    return new Synonyms(readFileSync(file ?? above('schema/synonyms.txt'), 'utf8'));
  }

  /** What a word stands for besides itself. */
  of(word: string): readonly (readonly string[])[] {
    return this.groups.get(word) ?? [];
  }

  /** The longest entry of several words that the folded tokens begin with. */
  phraseAt(tokens: readonly string[]): Phrase | undefined {
    for (let count = Math.min(this.longest, tokens.length); count > 1; count -= 1) {
      const key = tokens.slice(0, count).join(' ');
      const others = this.groups.get(key);
      if (others !== undefined) return { tokens: count, words: key.split(' '), others };
    }
    return undefined;
  }
}
