import { describe, expect, test } from '@jest/globals';
import { readFileSync } from 'node:fs';
import path from 'node:path';

interface Locked {
  readonly optionalDependencies?: Readonly<Record<string, string>>;
  readonly hasInstallScript?: boolean;
  readonly resolved?: string;
}

const root = path.resolve(import.meta.dirname, '../..');
const read = <T>(name: string): T => JSON.parse(readFileSync(path.join(root, name), 'utf8')) as T;
const { packages } = read<{ packages: Record<string, Locked> }>('package-lock.json');
const manifest = read<{ allowScripts: Record<string, boolean> }>('package.json');

function nameOf(folder: string): string {
  return folder.slice(folder.lastIndexOf('node_modules/') + 'node_modules/'.length);
}

describe('package-lock.json', () => {
  // npm leaves platforms out of a lock file that it writes beside installed packages, and `npm ci` then refuses the file.
  test('holds every platform of every package', () => {
    const names = new Set(Object.keys(packages).map(nameOf));
    const missing = Object.values(packages)
      .flatMap((locked) => Object.keys(locked.optionalDependencies ?? {}))
      .filter((name) => !names.has(name));
    expect(missing).toEqual([]);
  });

  test('names no registry', () => {
    expect(Object.values(packages).filter(({ resolved }) => resolved !== undefined)).toEqual([]);
  });

  test('every install script is decided on, so that a clean install is silent about them', () => {
    const undecided = Object.entries(packages)
      .filter(([, locked]) => locked.hasInstallScript === true)
      .map(([folder]) => nameOf(folder))
      .filter((name) => manifest.allowScripts[name] === undefined);
    expect(undecided).toEqual([]);
  });
});
