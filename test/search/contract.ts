/** What search finds, asked through the graph: the contract that PostgreSQL and OpenSearch are both held to. */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { CLINIC, LATER, PATIENTS, QUESTIONS } from './clinician.js';
import { adt, person, TestHub, type Message, type Sent, type TestOpenSearch } from '../query/support.js';

interface Hit {
  readonly kind: string;
  readonly score: number;
  readonly highlights: readonly string[];
  readonly patient: { readonly id: string; readonly names: readonly { readonly family: string | null }[] };
  readonly fact: { readonly display?: string | null; readonly value?: unknown };
}

interface Answered {
  readonly at: {
    readonly search: {
      readonly nodes: readonly Hit[];
      readonly understood: readonly { readonly text: string; readonly meanings: readonly string[] }[];
      readonly watermark: string;
    };
  };
}

const QUERY = `query ($text: String!, $kinds: [FactKind!], $patient: ID, $position: Position, $basis: String, $location: String, $from: DateTime, $to: DateTime) {
  at(position: $position, basis: $basis) { search(text: $text, kinds: $kinds, patient: $patient, location: $location, from: $from, to: $to, first: 20) {
    nodes { kind score highlights patient { id names { family } }
      fact { ... on Observation { display value } ... on Condition { display } ... on Immunization { display } } }
    understood { text meanings } watermark } } }`;

/** A result, at a time on 2026-03-<day>. */
function oru(who: { readonly mrn: string }, name: string, results: readonly string[], day = '02'): string[] {
  const time = `202603${day}090000+0000`;
  return [
    `MSH|^~\\&|LAB|MERCY|HUB|HUB|${time}||ORU^R01|R${who.mrn}-${results.length}-${day}|P|2.5.1`,
    `PID|1||${who.mrn}^^^MERCY^MR||${name}`,
    `OBR|1|P${who.mrn}${day}|F${who.mrn}${day}|24323-8^Comprehensive panel^LN|||${time}`,
    ...results.map((result, index) => `OBX|${index + 1}|${result}|||F|||${time}`),
  ];
}

const people = {
  ada: person(),
  smith: person(),
  smythe: person(),
  muller: person(),
  ivanov: person(),
  papa: person(),
  first: person(),
  second: person(),
  renamed: person(),
  ill: person(),
  april: person(),
};
type Who = keyof typeof people;

export function describeSearch(engine: string, openSearch?: () => Promise<TestOpenSearch>): void {
  let hub: TestHub;
  const marks: Record<string, Sent> = {};

  function of(who: Who, content: Message['content']): Message {
    const { record, patient } = people[who];
    return { content, record, patient };
  }

  async function search(text: string, more: Record<string, unknown> = {}): Promise<Answered['at']['search']> {
    return (await hub.data<Answered>(QUERY, { text, ...more })).at.search;
  }

  /** Whom and what, in order: `smith`, `smith OBSERVATION Potassium 5.9`. */
  async function found(text: string, more: Record<string, unknown> = {}): Promise<string[]> {
    const { nodes } = await search(text, more);
    return nodes.map(({ kind, patient, fact }) => {
      const who =
        Object.entries({ ...people, ...PATIENTS }).find(([, one]) => one.patient === patient.id)?.[0] ?? patient.id;
      if (kind === 'PATIENT') return who;
      const value = fact.value === undefined || fact.value === null ? '' : ` ${JSON.stringify(fact.value)}`;
      return `${who} ${kind}${fact.display == null ? '' : ` ${fact.display}`}${value}`;
    });
  }

  beforeAll(async () => {
    hub = await TestHub.start(openSearch === undefined ? {} : { openSearch: await openSearch() });
    const at = '2026-03-01T08:00:00Z';
    const who = (one: Who): { mrn: string; at: string; trigger: string } => ({
      mrn: people[one].mrn,
      at,
      trigger: 'A04',
    });
    const address = (message: string[], street: string): string[] =>
      message.map((line) =>
        line.startsWith('PID') ? line.replace(/\|([FMU]?)\|\|\|\|\|/, `|$1|||${street}||`) : line,
      );
    await hub.append([
      of(
        'ada',
        address(
          adt({
            ...who('ada'),
            name: 'Okafor^Adaeze^N~Obi^Ada^^^^^A',
            birthDate: '19840229',
            sex: 'F',
            phone: '(555)123-4567',
          }),
          '12 Harbour Street^^Springfield^IL^62704',
        ),
      ),
      of('smith', adt({ ...who('smith'), name: 'Smith^John', birthDate: '19840305', sex: 'M' })),
      of(
        'smythe',
        adt({
          ...who('smythe'),
          name: 'Smythe^Johanna',
          birthDate: '19550101',
          sex: 'F',
          location: 'ICU^2^1',
          visit: 'VIS-77',
        }),
      ),
      of('muller', adt({ ...who('muller'), name: 'Müller-Ødegård^José María', birthDate: '197001' })),
      of('ivanov', [
        'MSH|^~\\&|ADT|MERCY|HUB|HUB|20260301080000+0000||ADT^A04|IV1|P|2.5.1||||||UNICODE UTF-8',
        `EVN|A04|20260301080000+0000`,
        `PID|1||${people.ivanov.mrn}^^^MERCY^MR||Иванов^Сергей`,
      ]),
      of('papa', adt({ ...who('papa'), name: 'Papadopoulos^Georgios' })),
      of('first', adt({ ...who('first'), name: 'Marchetti^Lucia', birthDate: '19610411' })),
      of('second', adt({ ...who('second'), name: 'Kowalczyk^Lucja' })),
      of('renamed', adt({ ...who('renamed'), name: 'Fitzgerald^Nina' })),
      of('april', adt({ ...who('april'), name: 'Sonnenschein^April^Pri', birthDate: '19841130' })),
      of(
        'smith',
        oru(people.smith, 'Smith^John', ['NM|2823-3^Potassium^LN||5.9|mmol/L', 'NM|2951-2^Sodium^LN||140|mmol/L']),
      ),
      of(
        'ada',
        oru(people.ada, 'Okafor^Adaeze^N~Obi^Ada^^^^^A', [
          'NM|2823-3^Potassium^LN||4.1|mmol/L',
          'ST|NOTE^Remark^L||hemolysed sample, please repeat',
        ]),
      ),
      of('ill', [
        ...adt({ ...who('ill'), name: 'Brown^Walter', trigger: 'A08' }),
        'DG1|1||E11.9^Type 2 diabetes mellitus^I10|||F',
      ]),
      of('ill', [
        'MSH|^~\\&|VAX|MERCY|HUB|HUB|20260301090000+0000||VXU^V04|VX1|P|2.5.1',
        `PID|1||${people.ill.mrn}^^^MERCY^MR||Brown^Walter`,
        'ORC|RE||V1',
        'RXA|0|1|20260301||08^Hep B, adolescent or pediatric^CVX|0.5|mL||||||||LOT77|||||CP',
      ]),
    ]);
    await hub.project();
    const note = async (name: string, message: Message): Promise<void> => {
      marks[name] = await hub.send(message);
    };
    await note(
      'named',
      of('renamed', adt({ ...who('renamed'), trigger: 'A08', at: '2026-03-02T08:00:00Z', name: 'Abernathy^Nina' })),
    );
    await note('merged', {
      ...of('first', adt({ ...who('first'), trigger: 'A40', name: 'Marchetti^Lucia', merged: people.second.mrn })),
      links: [{ sourceRecordId: people.second.record, patientId: people.first.patient, reason: 'merge' }],
    });
    await note(
      'corrected',
      of(
        'smith',
        oru(people.smith, 'Smith^John', ['NM|2823-3^Potassium^LN||5.2|mmol/L'], '02').map((line) =>
          line.startsWith('OBX') ? line.replace('|||F|', '|||C|') : line,
        ),
      ),
    );
  });
  afterAll(() => hub.stop());

  describe(`search on ${engine}`, () => {
    test('a patient is found by names in any order, by their beginnings, by an alias, without case and accents', async () => {
      expect((await found('okafor adaeze'))[0]).toBe('ada');
      expect((await found('ADAEZE Okafor'))[0]).toBe('ada');
      expect((await found('oka ada'))[0]).toBe('ada');
      expect((await found('Obi Ada'))[0]).toBe('ada');
      expect((await found('muller odegard'))[0]).toBe('muller');
      expect((await found('jose maria'))[0]).toBe('muller');
      expect((await found('mullerodegard'))[0]).toBe('muller');
      expect(await found('nobodyatall')).toEqual([]);
    });

    test.each([
      ['Okaor Adaeze', 'ada'],
      ['Okfaro Adaeze', 'ada'],
      ['Ockaffor', 'ada'],
      ['Pkafxr Adaeze', 'ada'],
      ['adaezze okaf0r', 'ada'],
      ['Mueller', 'muller'],
      ['Papadopulos', 'papa'],
      ['Papodopolos Giorgos', 'papa'],
      ['Kowalschik', 'second'],
      ['smiht jonh', 'smith'],
    ])('a name misspelt by one or two edits, or written by its sound, is found: %s', async (text, who) => {
      const expected = who === 'second' ? 'first' : who;
      expect((await found(text, { kinds: ['PATIENT'] })).slice(0, 3)).toContain(expected);
    });

    test('a word of two letters is a longer one that lacks a letter only where the others are met and nothing is nearer', async () => {
      expect(await found('sonenschein pi')).toEqual(['april']);
      expect(await found('pi')).toEqual([]);
      // Two letters are the beginning of a name before they are a name that lacks one.
      expect(await found('sonnenschein ap')).toEqual(['april']);
    });

    test('a name that is also a month is found beside a day and beside a year', async () => {
      expect(await found('april 1984-11-30', { kinds: ['PATIENT'] })).toEqual(['april']);
      expect(await found('sonnenschein april 1984', { kinds: ['PATIENT'] })).toEqual(['april']);
      expect(await found('Nov 1984', { kinds: ['PATIENT'] })).toEqual(['april']);
      expect(await found('May 1984', { kinds: ['PATIENT'] })).toEqual([]);
    });

    test('names of other scripts are found by how they are read, and the other way round', async () => {
      expect((await found('Ivanov Sergey'))[0]).toBe('ivanov');
      expect((await found('Иванов'))[0]).toBe('ivanov');
      expect((await found('Iwanow'))[0]).toBe('ivanov');
      expect((await found('Παπαδόπουλος Γεώργιος'))[0]).toBe('papa');
    });

    test('an identifier is found with or without its authority, and stands first', async () => {
      const { mrn } = people.smith;
      expect((await found(mrn))[0]).toBe('smith');
      expect((await found(`MERCY ${mrn}`))[0]).toBe('smith');
      expect((await found(`mercy:${mrn}`))[0]).toBe('smith');
      expect((await found(`${mrn}^^^MERCY^MR`))[0]).toBe('smith');
      expect((await found('vis77'))[0]).toBe('smythe ENCOUNTER');
      const { nodes } = await search(mrn);
      expect((nodes[0] as Hit).score).toBeGreaterThan(1.5);
      expect((nodes[0] as Hit).highlights).toEqual([mrn]);
    });

    test.each([
      '1984-02-29',
      '19840229',
      '29.02.1984',
      '29/2/1984',
      '02/29/1984',
      '29 Feb 1984',
      'born:1984-02',
      'February 29, 1984',
    ])('a birth date is found as %s', async (date) => {
      expect(await found(date, { kinds: ['PATIENT'] })).toEqual(['ada']);
      expect(await found(`okafor ${date}`, { kinds: ['PATIENT'] })).toEqual(['ada']);
    });

    test('a telephone number and an address are found, also in part', async () => {
      expect(await found('555-123-4567', { kinds: ['PATIENT'] })).toEqual(['ada']);
      expect(await found('+1 555 123 4567', { kinds: ['PATIENT'] })).toEqual(['ada']);
      expect(await found('1234567', { kinds: ['PATIENT'] })).toEqual(['ada']);
      expect(await found('harbour springfield', { kinds: ['PATIENT'] })).toEqual(['ada']);
    });

    test('results, diagnoses and vaccinations are found by words, codes and synonyms', async () => {
      expect(await found('potassium')).toEqual(
        expect.arrayContaining(['smith OBSERVATION Potassium 5.2', 'ada OBSERVATION Potassium 4.1']),
      );
      expect(await found('kalium')).toHaveLength(2);
      expect(await found('LOINC 2951-2')).toEqual(['smith OBSERVATION Sodium 140']);
      expect((await found('2951-2'))[0]).toBe('smith OBSERVATION Sodium 140');
      expect(await found('diabetes type 2')).toEqual(['ill CONDITION Type 2 diabetes mellitus']);
      expect(await found('E11.9')).toEqual(['ill CONDITION Type 2 diabetes mellitus']);
      expect(await found('icd10:e119')).toEqual(['ill CONDITION Type 2 diabetes mellitus']);
      expect(await found('E11')).toEqual(['ill CONDITION Type 2 diabetes mellitus']);
      expect(await found('CVX 08')).toEqual(['ill IMMUNIZATION Hep B, adolescent or pediatric']);
      expect(await found('lot77')).toEqual(['ill IMMUNIZATION Hep B, adolescent or pediatric']);
      const { nodes } = await search('hemolysed repeat');
      expect(nodes[0]?.highlights).toEqual(['hemolysed sample, please repeat']);
    });

    test('a question about a person and a fact of theirs is one question, and says what it was taken for', async () => {
      expect(await found('smith 1984 potassium > 5')).toEqual(['smith OBSERVATION Potassium 5.2']);
      expect(await found('smith 1984 potassium > 5.5')).toEqual([]);
      expect(await found('potassium <= 4.1')).toEqual(['ada OBSERVATION Potassium 4.1']);
      expect(await found('adaeze potassium')).toEqual(['ada OBSERVATION Potassium 4.1']);
      expect(await found('walter diabetes')).toEqual(['ill CONDITION Type 2 diabetes mellitus']);
      const { understood, watermark } = await search('smith born:1984 potassium > 5');
      expect(understood.map(({ text, meanings }) => `${text}: ${meanings.join()}`)).toEqual([
        '1984: BIRTH_DATE',
        '> 5: COMPARISON',
        'smith: WORD',
        'potassium: WORD,SYNONYM',
      ]);
      expect(BigInt(watermark)).toBeGreaterThanOrEqual(marks['corrected']?.position ?? 0n);
    });

    test('kinds, periods, places and a patient narrow what is found', async () => {
      const labs = ['ada OBSERVATION Potassium 4.1', 'ada OBSERVATION Remark "hemolysed sample, please repeat"'];
      for (const [text, asked] of [
        ['okafor', { kinds: ['OBSERVATION'] as const }],
        ['kind:lab okafor', {}],
        ['kind:lab okafor ada', {}],
        ['kind:lab', { patient: people.ada.patient }],
      ] as const)
        expect((await found(text, asked)).sort()).toEqual(labs);
      expect(await found('kind:lab okafor until 2026-02')).toEqual([]);
      expect(await found('kind:lab')).toEqual([]);
      expect(await found('potassium kind:diagnosis')).toEqual([]);
      expect(await found('potassium', { patient: people.ada.patient })).toEqual(['ada OBSERVATION Potassium 4.1']);
      expect(await found('potassium from:2026-03-02')).toHaveLength(2);
      expect(await found('potassium before:2026-03-02')).toEqual([]);
      expect(await found('potassium', { from: '2026-03-03T00:00:00Z' })).toEqual([]);
      expect(await found('johanna at:icu')).toEqual(['smythe']);
      expect(await found('okafor at:icu')).toEqual([]);
      expect(await found('at:ICU')).toEqual(['smythe ENCOUNTER']);
      expect(await found('kind:patient', { location: 'icu' })).toEqual(['smythe']);
    });

    test('a name that stood only in an old version is found then and not now (hard case 31)', async () => {
      const before = ((marks['named'] as Sent).position - 1n).toString();
      expect(await found('fitzgerald')).toEqual([]);
      expect(await found('fitzgerald', { position: before })).toEqual(['renamed']);
      expect(await found('abernathy', { position: before })).toEqual([]);
      expect(await found('abernathy nina')).toEqual(['renamed']);
    });

    test('a merged patient is found by either name and leads to the survivor; before the merge there are two', async () => {
      expect(await found('kowalczyk')).toEqual(['first']);
      expect(await found('marchetti')).toEqual(['first']);
      expect(await found('kowalczyk 1961')).toEqual(['first']);
      const before = ((marks['merged'] as Sent).position - 1n).toString();
      expect(await found('kowalczyk', { position: before })).toEqual(['second']);
      expect(await found('kowalczyk 1961', { position: before })).toEqual([]);
    });

    test('a corrected value is found as it stands at the basis', async () => {
      const before = ((marks['corrected'] as Sent).position - 1n).toString();
      expect(await found('potassium > 5.5')).toEqual([]);
      expect(await found('potassium > 5.5', { position: before })).toEqual(['smith OBSERVATION Potassium 5.9']);
    });

    test('what was retracted is absent now and there then', async () => {
      const visit = person();
      const about = { record: visit.record, patient: visit.patient };
      const there = await hub.send({
        ...about,
        content: adt({
          trigger: 'A01',
          mrn: visit.mrn,
          at: '2026-03-03T08:00:00Z',
          name: 'Quarterman^Zeb',
          location: 'NORTHWING^1',
          visit: 'VQ1',
        }),
      });
      await hub.send({
        ...about,
        content: adt({
          trigger: 'A11',
          mrn: visit.mrn,
          at: '2026-03-03T08:00:00Z',
          name: 'Quarterman^Zeb',
          location: 'NORTHWING^1',
          visit: 'VQ1',
        }),
      });
      expect((await search('northwing')).nodes).toEqual([]);
      expect(
        (await search('northwing', { position: there.position.toString() })).nodes.map(({ kind }) => kind),
      ).toEqual(['ENCOUNTER']);
    });

    test('the same basis gives the same hits, whatever came later', async () => {
      const query =
        'query ($basis: String) { at(basis: $basis) { basis { token } search(text: "smith jo", first: 10) { edges { cursor } nodes { score highlights fact { id } } } } }';
      const first = await hub.data<{ at: { basis: { token: string } } }>(query);
      await hub.send({
        ...person(),
        content: adt({ trigger: 'A04', mrn: 'LATER1', at: '2026-03-04T08:00:00Z', name: 'Smith^Jo' }),
      });
      const again = await hub.data<{ at: { search: unknown } }>(query, { basis: first.at.basis.token });
      expect(again.at).toEqual(first.at);
      const now = await hub.data<{ at: { search: { nodes: readonly unknown[] } } }>(query);
      expect(now.at.search.nodes.length).toBeGreaterThan((first as unknown as typeof now).at.search.nodes.length);
    });

    test('search behind the basis is an error of its own field, says how far it is, and waits where asked to', async () => {
      const [sent] = await hub.append([
        {
          ...person(),
          content: adt({ trigger: 'A04', mrn: 'LATER2', at: '2026-03-04T09:00:00Z', name: 'Zoltan^Bela' }),
        },
      ]);
      await hub.project(500, 'master');
      const query = `{ at(position: "${(sent as Sent).position}") { patients(filter: { name: "zoltan" }) { nodes { id } } search(text: "zoltan") { nodes { kind } } } }`;
      const answer = await hub.ask(query);
      expect(answer.data).toMatchObject({ at: { patients: { nodes: [{}] }, search: null } });
      expect(answer.errors).toMatchObject([
        { extensions: { code: 'SEARCH_UNAVAILABLE', watermark: expect.stringMatching(/^\d+$/) } },
      ]);
      const waiting = hub.data<{ at: { search: { nodes: unknown[] } } }>(query.replace('at(', 'at(wait: true, '));
      await hub.project();
      expect((await waiting).at.search.nodes).toHaveLength(1);
    });

    test('what clinicians ask brings what they expect, the first first', async () => {
      // A round's positions go by partition, so the last message need not have the greatest.
      const before = String(
        (await hub.append(CLINIC)).reduce((most, { position }) => (position > most ? position : most), 0n),
      );
      await hub.append(LATER);
      await hub.project();
      const otherwise: Record<string, unknown>[] = [];
      for (const { text, first, only, before: then } of QUESTIONS) {
        const hits = await found(text, then === true ? { position: before } : {});
        const shown = only === true ? hits : hits.slice(0, first.length);
        const expected = first.map((one) => (/ /.test(one) ? one : expect.stringMatching(new RegExp(`^${one}\\b`))));
        try {
          expect(shown).toEqual(expected);
        } catch {
          otherwise.push({ text, first, shown: hits.slice(0, 5) });
        }
      }
      expect(otherwise).toEqual([]);
    });
  });
}
