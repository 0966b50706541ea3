/**
 * HL7 tables that conformance rules can name (HL7 v2.9 chapter 2C), with the codes of all versions from 2.1 on. User-defined tables are as the
 * standard suggests; a site whose table differs lists its own values in the rule.
 */
const TABLES: Readonly<Record<string, string>> = {
  '0001': 'A F M N O U X C',
  '0002': 'A B C D E G I M N O P R S T U W',
  '0004': 'B C E I N O P R U',
  '0005': '1002-5 2028-9 2054-5 2076-8 2106-3 2131-1 A B H I O U W',
  '0006':
    'ABC AGN AME AMT ANG AOG ATH BAH BAP BMA BOT BRE BTA BTH BUD CAT CFR CHR CHS CMA CNF COC COE COG COI COL COM COP COT CRR EOT EPI ERL EVC FRQ FUL GRE HIN HOT HSH HVA JAI JCO JEW JOR JOT JRC JRF JRN JWN LMS LUT MEN MET MOM MOS MOT MSH NAM NOE NRL ORT OTH PEN PHR PRC PRE PRO QUA REC REO SAA SEV SHN SIK SOU SPI UCC UMD UNI UNU VAR WES WMC',
  '0007': 'A C E L N R U',
  '0038': 'A CA CM DC ER HD IP RP SC',
  '0052': 'A F W',
  '0061': 'BCV C1 C2 C3 C4 ISO M10 M11 NPI UPIN',
  '0063':
    'ASC BRO CGV CHD DEP DOM EMC EME EMR EXF FCH FND FTH GCH GRD GRP MGR MTH NCH NON OAD OTH OWN PAR SCH SEL SIB SIS SPO TRA UNK WRD',
  '0065': 'A G L O P R S',
  '0074':
    'AU BG BLB CG CH CP CT CTH CUS EC EN GE HM ICU IMG IMM LAB MB MCB MYC NMR NMS NRS OSL OT OTH OUS PAR PAT PF PHR PHY PT RAD RC RT RUS RX SP SR TX URN VR VUS XRC',
  '0078':
    '< > A AA AC B CAR D DET EXP H H> HH HM HU HX I IE IND L L< LL LU LX MS N ND NEG NR NS NULL OBX OR POS QCF R RR S SDD SYN-R SYN-S TOX U UNE VS W WR',
  '0080': 'A C D E F N R S U',
  '0085': 'A B C D F I N O P R S U V W X',
  '0092': 'R',
  '0103': 'D N P T V',
  '0104': '2.0 2.0D 2.1 2.2 2.3 2.3.1 2.3.2 2.4 2.5 2.5.1 2.6 2.7 2.7.1 2.8 2.8.1 2.8.2 2.9 2.9.1',
  '0116': 'C H I K O U',
  '0119':
    'AF CA CH CN CP CR DC DE DF DR FU HD HR LI MC NA NR NW OC OD OE OF OH OK OP OR PA PR PY RC RE RF RL RM RO RP RQ RR RU SC SN SQ SR SS UA UC UD UF UH UM UN UR UX VAL XO XR XX',
  '0123': 'A C F I M N O P R S X Y Z',
  '0125':
    'AD CE CF CK CN CNE CP CWE CX DR DT DTM ED EI FT HD ID IS MA MO NA NM PL PN RP RPL SN ST TM TN TS TX XAD XCN XON XPN XTN',
  '0127': 'AA DA EA FA LA MA MC PA',
  '0128': 'MI MO SV U',
  '0136': 'N Y',
  '0155': 'AL ER NE SU',
  '0189': '2135-2 2186-5 H N U',
  '0190': 'B BA BDL BI BIR BR C F H HV L M N O P R RH S SH TM V',
  '0200': 'A B BAD C D F G I K L M MSK N NAV NB NOUSE P R REL S T TEMP U',
  '0201': 'ASN BPN EMR NET ORN PRN PRS VHN WPN',
  '0202': 'BP CP FX Internet MD PH SAT TDD TTY X.400',
  '0203':
    'ACSN AIN AM AMA AN ANC AND ANON ANT APRN ASID BA BC BCFN BCT BR BRN BSNR CAAI CC CONM CY CZ DC DCFN DDS DDX DEA DFN DI DL DN DO DP DPM DR DS DSG EI EN ESN FDR FDRFN FGN FI FILL GI GL GN HC IND IRISTEM JHN LACSN LANR LI LN LR MA MB MC MCD MCN MCR MCT MD MI MR MRT MS NBSNR NCT NE NH NHS NI NII NIIP NNxxx NP NPI OBI OD PA PC PCN PE PEN PGN PHC PHE PHO PI PIN PLAC PN PNT PPIN PPN PRC PRN PT QA RI RN RPH RR RRI RRP SB SID SL SN SNBSN SNO SP SR SRX SS STN TAX TN TPR TRL U UDI UPIN USID VN VP VS WC WCN WP XV XX',
  '0207': 'A I R T',
  '0224': 'A N U',
  '0301': 'CAP CLIA CLIP DNS EUI64 GUID HCD HL7 ISO L M N Random URI UUID x400 x500',
  '0357': '0 100 101 102 103 104 198 199 200 201 202 203 204 205 206 207',
  '0368': 'AB CH CL CO DI EN PA RE UN',
  '0516': 'E F I W',
  '0532': 'ASKU N NA NASK NAV NI NP UNK Y',
};

/** HL7 table 0211: the only one whose codes hold blanks. */
const CHARACTER_SETS: readonly string[] = [
  '8859/1',
  '8859/2',
  '8859/3',
  '8859/4',
  '8859/5',
  '8859/6',
  '8859/7',
  '8859/8',
  '8859/9',
  '8859/15',
  'ASCII',
  'BIG-5',
  'CNS 11643-1992',
  'GB 18030-2000',
  'ISO IR6',
  'ISO IR14',
  'ISO IR87',
  'ISO IR159',
  'KS X 1001',
  'UNICODE',
  'UNICODE UTF-8',
  'UNICODE UTF-16',
  'UNICODE UTF-32',
];

const SETS: ReadonlyMap<string, ReadonlySet<string>> = new Map([
  ...Object.entries(TABLES).map(([number, codes]) => [number, new Set(codes.split(' '))] as const),
  ['0211', new Set(CHARACTER_SETS)] as const,
]);

/** Numbers of the tables that a rule can name. */
export const TABLE_NUMBERS: readonly string[] = [...SETS.keys()].sort();

/** Codes of a table; `0001` and `HL70001` are the same; undefined for a table that is not here. */
export function codesOfTable(name: string): ReadonlySet<string> | undefined {
  return SETS.get(name.replace(/^HL7/, ''));
}
