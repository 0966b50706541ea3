/**
 * Message structures of HL7 v2 (HL7 v2.9 chapters 3 to 10 and 12, with the segments of older versions), as far as they say which segments belong
 * together. Notation: segments and groups `NAME( … )` in their order; `?` optional, `*` any number, `+` one or more; `A/B` either. A group begins
 * with its first segment, or with the one behind where that is optional.
 */

const VISIT = 'VISIT( PV1 PV2? PRT* ROL* )?';
const TIMING = 'TIMING( TQ1 TQ2* )*';
const OBSERVATION = 'OBSERVATION( OBX TCD? PRT* NTE* )*';
const INSURANCE = 'INSURANCE( IN1 IN2? IN3* PRT* ROL* AUT* RF1* )*';
const PROCEDURE = 'PROCEDURE( PR1 PRT* ROL* )*';
const DEMOGRAPHICS = 'PID PD1? PRT* ROL* ARV* NTE* NK1*';
/** What orders of every kind have in front of them. */
const ORDER_HEAD = `MSH ARV* SFT* UAC? NTE* PATIENT( ${DEMOGRAPHICS} ${VISIT} ${INSURANCE} GT1? AL1* IAM* )?`;
const COMPONENT = 'COMPONENT( RXC NTE* )*';
const SPECIMEN = 'SPECIMEN( SPM PRT* NTE* SPECIMEN_OBSERVATION( OBX PRT* NTE* )* CONTAINER( SAC NTE* OBX* )* )*';
const RX_ORDER = `ORDER_DETAIL( RXO NTE* RXR* ${COMPONENT} )?`;
const RX_ENCODING = `ENCODING( RXE PRT* NTE* TIMING_ENCODED( TQ1 TQ2* )* RXR* ${COMPONENT} )?`;

const STRUCTURES: Readonly<Record<string, string>> = {
  ADT: `MSH ARV* SFT* UAC? EVN? PATIENT( ${DEMOGRAPHICS} ${VISIT} DB1* ${OBSERVATION} AL1* IAM* DG1* DRG? ${PROCEDURE} GT1* ${INSURANCE} ACC? UB1? UB2? PDA? )+`,
  ADT_MERGE: `MSH ARV* SFT* UAC? EVN? PATIENT( ${DEMOGRAPHICS} MERGE( MRG PV1? PV2? )* ${VISIT} DB1* ${OBSERVATION} )+`,
  ORU_R01: `MSH ARV* SFT* UAC? PATIENT_RESULT( PATIENT( ${DEMOGRAPHICS} PATIENT_OBSERVATION( OBX PRT* NTE* )* ${VISIT} )? ORDER_OBSERVATION( COMMON_ORDER( ORC PRT* NTE* )? OBR NTE* PRT* ROL* ${TIMING} CTD? ${OBSERVATION} FT1* CTI* ${SPECIMEN} DEVICE( DEV OBX* )* )* )+ DSC?`,
  OUL_R22: `MSH SFT* UAC? NTE? PATIENT( ${DEMOGRAPHICS} PATIENT_OBSERVATION( OBX PRT* NTE* )* )? ${VISIT} SPECIMEN( SPM PRT* NTE* OBX* CONTAINER( SAC INV* OBX* )* ORDER( OBR ORC? PRT* NTE* ${TIMING} RESULT( OBX TCD? PRT* SID* INV* NTE* )* CTI* )* )+ DSC?`,
  VXU_V04: `MSH ARV* SFT* UAC? PERSON( ${DEMOGRAPHICS} ${VISIT} GT1* ${INSURANCE} PERSON_OBSERVATION( OBX PRT* NTE* )* ORDER( COMMON_ORDER( ORC PRT* ${TIMING} )? RXA RXR? PRT* NTE* OBSERVATION( OBX PRT* NTE* )* )* )+`,
  MDM_T02: `MSH SFT* UAC? EVN? PATIENT( ${DEMOGRAPHICS} ${VISIT} )? COMMON_ORDER( ORC PRT* ${TIMING} OBR? PRT* NTE* )* DOCUMENT( TXA CON* OBSERVATION( OBX PRT* NTE* )* )+`,
  SIU_S12: `MSH SFT* UAC? SCH TQ1* NTE* PATIENT( ${DEMOGRAPHICS} ${VISIT} ${OBSERVATION} DG1* )* RESOURCES( RGS SERVICE( AIS NTE* )* GENERAL_RESOURCE( AIG NTE* )* LOCATION_RESOURCE( AIL NTE* )* PERSONNEL_RESOURCE( AIP NTE* )* )*`,
  ORM_O01: `${ORDER_HEAD} ORDER( ORC PRT* ${TIMING} ORDER_DETAIL( OBR/RQD/RQ1/RXO/ODS/ODT NTE* RXR* ${COMPONENT} CTD? DG1* ${OBSERVATION} )? FT1* CTI* BLG? )+`,
  OML_O21: `${ORDER_HEAD} ORDER( ORC PRT* NTE* ${TIMING} OBSERVATION_REQUEST( OBR TCD? NTE* PRT* ROL* CTD* DG1* REL* IPC* ${OBSERVATION} ${SPECIMEN} PRIOR_RESULT( PATIENT_PRIOR( PID PD1? PRT* ) VISIT_PRIOR( PV1 PV2? )? AL1* ORDER_PRIOR( ORC? OBR NTE* OBSERVATION_PRIOR( OBX NTE* )* )+ )* )? FT1* CTI* BLG? )+`,
  OMP_O09: `${ORDER_HEAD} ORDER( ORC PRT* NTE* ${TIMING} RXO NTE* RXR* ${COMPONENT} ${OBSERVATION} FT1* BLG? )+`,
  RDE_O11: `${ORDER_HEAD} ORDER( ORC PRT* ${TIMING} ${RX_ORDER} RXE PRT* NTE* TIMING_ENCODED( TQ1 TQ2* )* RXR* ${COMPONENT} ${OBSERVATION} FT1* BLG? CTI* )+`,
  RDS_O13: `${ORDER_HEAD} ORDER( ORC PRT* ${TIMING} ${RX_ORDER} ${RX_ENCODING} DISPENSE( RXD PRT* NTE* RXR* ${COMPONENT} ${OBSERVATION} )* FT1* )+`,
  RGV_O15: `${ORDER_HEAD} ORDER( ORC PRT* ${TIMING} ${RX_ORDER} ${RX_ENCODING} GIVE( RXG PRT* TIMING_GIVE( TQ1 TQ2* )* RXR* ${COMPONENT} ${OBSERVATION} )* )+`,
  RAS_O17: `${ORDER_HEAD} ORDER( ORC PRT* ${TIMING} ${RX_ORDER} ${RX_ENCODING} ADMINISTRATION( RXA RXR? PRT* NTE* ${OBSERVATION} )* CTI* )+`,
  DFT_P03: `MSH ARV* SFT* UAC? EVN? PATIENT( ${DEMOGRAPHICS} ${VISIT} DB1* ) COMMON_ORDER( ORC PRT* ${TIMING} ORDER( OBR NTE* )? ${OBSERVATION} )* FINANCIAL( FT1 PRT* NTE* FINANCIAL_PROCEDURE( PR1 PRT* ROL* )* FINANCIAL_COMMON_ORDER( ORC PRT* ${TIMING} FINANCIAL_ORDER( OBR NTE* )? FINANCIAL_OBSERVATION( OBX PRT* NTE* )* )* )* DG1* DRG? GT1* ${INSURANCE} ACC?`,
  BAR_P01: `MSH ARV* SFT* UAC? EVN? PATIENT( ${DEMOGRAPHICS} ACCOUNT( PV1 PV2? PRT* ROL* DB1* ${OBSERVATION} AL1* DG1* DRG? ${PROCEDURE} GT1* ${INSURANCE} ACC? UB1? UB2? ABS? BLC* RMI? GP1? GP2* )* )+`,
  MFN_M01: `MSH SFT* UAC? MFI MASTER( MFE NTE* DEPARTMENT( LDP LCH* LCC* )* OBSERVATION( OMC/OBX NTE* )* )*`,
};

/** Structures by MSH-9.1, and by trigger event where one message code has several. */
const BY_TYPE: readonly (readonly [code: string, triggers: RegExp | undefined, structure: string])[] = [
  ['ADT', /^A(?:18|30|34|35|36|39|4[0-9]|50|51)$/, 'ADT_MERGE'],
  ['ADT', undefined, 'ADT'],
  ['ORU', undefined, 'ORU_R01'],
  ['OUL', /^R2[234]$/, 'OUL_R22'],
  ['OUL', undefined, 'ORU_R01'],
  ['ORF', undefined, 'ORU_R01'],
  ['VXU', undefined, 'VXU_V04'],
  ['MDM', undefined, 'MDM_T02'],
  ['SIU', undefined, 'SIU_S12'],
  ['SRM', undefined, 'SIU_S12'],
  ['ORM', undefined, 'ORM_O01'],
  ['OML', undefined, 'OML_O21'],
  ['OMG', undefined, 'OML_O21'],
  ['OMI', undefined, 'OML_O21'],
  ['OMP', undefined, 'OMP_O09'],
  ['RDE', undefined, 'RDE_O11'],
  ['RDS', undefined, 'RDS_O13'],
  ['RGV', undefined, 'RGV_O15'],
  ['RAS', undefined, 'RAS_O17'],
  ['DFT', undefined, 'DFT_P03'],
  ['BAR', undefined, 'BAR_P01'],
  ['MFN', undefined, 'MFN_M01'],
];

/** A segment or group within a group. */
export interface GrammarPart {
  /** Place among the parts of its group, from 0. */
  readonly index: number;
  readonly repeats: boolean;
  /** A group; undefined for a segment. */
  readonly group?: Grammar;
}

/** A group of segments, as the standard has it. */
export interface Grammar {
  readonly name: string;
  readonly repeats: boolean;
  /** Its own segments; a name that stands twice has its first place. */
  readonly segments: ReadonlyMap<string, GrammarPart>;
  readonly groups: readonly (GrammarPart & { readonly group: Grammar })[];
  /** Segments that begin it. */
  readonly openers: ReadonlySet<string>;
}

const parsed = new Map<string, Grammar>();

/** Structure of a message type; for one that is not here undefined. */
export function grammarOf(code: string, triggerEvent: string): Grammar | undefined {
  const upper = code.toUpperCase();
  const trigger = triggerEvent.toUpperCase();
  const entry = BY_TYPE.find(([own, triggers]) => own === upper && (triggers === undefined || triggers.test(trigger)));
  if (entry === undefined) return undefined;
  const [, , name] = entry;
  let grammar = parsed.get(name);
  if (grammar === undefined) {
    const words = STRUCTURES[name]!.split(/\s+/);
    let at = 0;
    grammar = parseGroup(name, false, () => words[at++]);
    parsed.set(name, grammar);
  }
  return grammar;
}

/** Names of the structures, for tests and documentation. */
export const STRUCTURE_NAMES: readonly string[] = Object.keys(STRUCTURES);

function parseGroup(name: string, repeats: boolean, next: () => string | undefined): Grammar {
  const segments = new Map<string, GrammarPart>();
  const groups: (GrammarPart & { readonly group: Grammar })[] = [];
  const openers = new Set<string>();
  let opening = true;
  let index = 0;
  for (let word = next(); word !== undefined && !word.startsWith(')'); word = next()) {
    if (word.endsWith('(')) {
      const words: string[] = [];
      let depth = 1;
      let close = '';
      while (depth > 0) {
        const inner = next();
        if (inner === undefined) throw new RangeError('a structure has an open group');
        if (inner.endsWith('(')) depth += 1;
        if (inner.startsWith(')')) depth -= 1;
        if (depth > 0) words.push(inner);
        else close = inner.slice(1);
      }
      let at = 0;
      const group = parseGroup(word.slice(0, -1), close === '*' || close === '+', () => words[at++]);
      groups.push({ index, repeats: group.repeats, group });
      if (opening) for (const opener of group.openers) openers.add(opener);
      if (close === '' || close === '+') opening = false;
    } else {
      const [, alternatives, often] = /^([A-Z0-9/]+)([?*+]?)$/.exec(word) ?? [];
      if (alternatives === undefined) throw new RangeError('a structure has a word that is none');
      for (const segment of alternatives.split('/')) {
        if (!segments.has(segment)) segments.set(segment, { index, repeats: often === '*' || often === '+' });
        if (opening) openers.add(segment);
      }
      if (often === '' || often === '+') opening = false;
    }
    index += 1;
  }
  return { name, repeats, segments, groups, openers };
}
