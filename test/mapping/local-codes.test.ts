import { describe, expect, it } from '@jest/globals';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { readSourceSettings, SourceSettingsError } from '../../src/inbound/sources/settings.js';
import { sourceStream } from '../../src/inbound/sources/decide.js';
import type { RecordedEvent } from '../../src/log/event-log.js';
import { objectsIn } from '../../src/mapping/concepts.js';
import { LocalCodes } from '../../src/mapping/local-codes.js';
import { SourceCodes } from '../../src/projecting/source-codes.js';
import { factOf, hl7, map, MSH, PID, resourceOf } from './support.js';

const ROWS = [
  { system: 'L', code: 'K', toSystem: 'LN', toCode: '2823-3', display: 'Potassium' },
  { system: '', code: 'NOPROB', toSystem: 'SCT', toCode: '160245001' },
  { system: '99DX', code: 'HT', toSystem: 'I10C', toCode: 'I10' },
];

const result = hl7(
  MSH('ORU^R01'),
  PID,
  'OBR|1|P1|F1|CHEM^Chemistry^L|||20261120083000',
  'OBX|1|CE|K^Kalium^L||NOPROB^nothing||||||F',
);

describe('local codes of a source', () => {
  it('get the standard code in front and stay beside it, wherever a coded value stands', () => {
    const resource = resourceOf(factOf(map(result, { codes: new LocalCodes(ROWS) }), 'OBSERVATION'));
    expect(objectsIn(resource['code'], 'coding')).toEqual([
      { system: 'http://loinc.org', code: '2823-3', display: 'Potassium' },
      { system: 'urn:anamnesis:coding-system:L', code: 'K', display: 'Kalium' },
    ]);
    expect(objectsIn(resource['valueCodeableConcept'], 'coding')).toEqual([
      { system: 'http://snomed.info/sct', code: '160245001' },
      { code: 'NOPROB', display: 'nothing' },
    ]);
  });

  it('leave keys, other codes and facts without any alone', () => {
    const plain = map(result);
    const translated = map(result, { codes: new LocalCodes(ROWS) });
    expect(translated.facts.map(({ key }) => key)).toEqual(plain.facts.map(({ key }) => key));
    expect(factOf(translated, 'DIAGNOSTIC_REPORT')).toBe(
      translated.facts.find(({ kind }) => kind === 'DIAGNOSTIC_REPORT'),
    );
    expect(resourceOf(factOf(translated, 'DIAGNOSTIC_REPORT'))).toEqual(resourceOf(factOf(plain, 'DIAGNOSTIC_REPORT')));
  });

  it('are not doubled where the message states the standard code itself', () => {
    const both = hl7(MSH('ORU^R01'), PID, 'OBR|1|P1|F1|CHEM', 'OBX|1|NM|K^Kalium^L^2823-3^Potassium^LN||4.1||||||F');
    const codings = objectsIn(
      resourceOf(factOf(map(both, { codes: new LocalCodes(ROWS) }), 'OBSERVATION'))['code'],
      'coding',
    );
    expect(codings.map((coding) => coding['code'])).toEqual(['K', '2823-3']);
  });
});

describe('the tables among the settings of a source', () => {
  const withFolder = (check: (folder: string) => void): void => {
    const folder = mkdtempSync(path.join(os.tmpdir(), 'anamnesis-codes-'));
    try {
      check(folder);
    } finally {
      rmSync(folder, { recursive: true });
    }
  };

  it('are read from CSV and from JSON beside the configuration and become part of it', () => {
    withFolder((folder) => {
      writeFileSync(
        path.join(folder, 'lab.csv'),
        'system,code,toSystem,toCode,display\r\nL,K,LN,2823-3,Potassium\r\n,NOPROB,SCT,160245001,\r\n99DX,"HT",I10C,I10,\r\n',
      );
      writeFileSync(path.join(folder, 'lab.json'), JSON.stringify(ROWS));
      for (const file of ['lab.csv', 'lab.json'])
        expect(readSourceSettings('lab', { codeTables: [{ file }] }, folder).codeTables).toEqual([
          { name: file, rows: ROWS },
        ]);
      // Once read they are rows, which read to themselves: a version needs no file.
      const read = readSourceSettings('lab', { codeTables: [{ file: 'lab.csv' }] }, folder);
      expect(readSourceSettings('lab', read)).toEqual(read);
    });
  });

  it.each([
    ['code,toSystem,toCode\nK,LN,1\n', 'column system'],
    ['system,code,toSystem,toCode\nL,secret,,1\n', 'row 1'],
    ['system,code,toSystem,toCode\nL,secret,LN,1\nL,secret,LN,2\n', 'row 2'],
    ['[{"system":"L"', 'JSON'],
  ])('are refused with the place and never with the content: %j', (text, where) => {
    withFolder((folder) => {
      writeFileSync(path.join(folder, 'bad.csv'), text);
      let told = '';
      try {
        readSourceSettings('lab', { codeTables: [{ file: 'bad.csv' }] }, folder);
      } catch (error) {
        expect(error).toBeInstanceOf(SourceSettingsError);
        told = (error as Error).message;
      }
      expect(told).toContain('codeTables[0].file');
      expect(told).toContain(where);
      expect(told).not.toContain('secret');
    });
  });

  it('are those of the version that a message came by, whatever the source has become', async () => {
    const versions = [{}, { codeTables: [{ name: 'lab', rows: ROWS }] }, {}];
    const events = versions.map(
      (settings, index) =>
        ({
          position: BigInt(index + 1),
          data: Buffer.from(JSON.stringify({ version: index + 1, settings })),
        }) as RecordedEvent,
    );
    let reads = 0;
    const codes = new SourceCodes({
      readPage: (options) => {
        reads += 1;
        expect(options.stream).toBe(sourceStream('lab'));
        return Promise.resolve(events);
      },
    });
    const known = await codes.of({ source: 'lab', sourceVersion: 2 });
    const mapped = map(result, known === undefined ? {} : { codes: known });
    expect(objectsIn(resourceOf(factOf(mapped, 'OBSERVATION'))['code'], 'coding')).toHaveLength(2);
    expect(await codes.of({ source: 'lab', sourceVersion: 1 })).toBeUndefined();
    expect(await codes.of({ source: 'lab', sourceVersion: 3 })).toBeUndefined();
    expect(await codes.of({ source: 'lab', sourceVersion: 9 })).toBeUndefined();
    expect(await codes.of({ source: 'lab', sourceVersion: 2 })).toBe(known);
    expect(reads).toBe(4);
  });
});
