/**
 * Types that may stand in the envelope in clear text: they come from published tables. What a sender made up stands in the sealed
 * header only, for it could hold anything.
 */

/**
 * HL7 v2 message codes (table 0076) with their trigger events (table 0003), HL7 v2.1 to v2.9. A code without events is sent alone.
 */
const HL7_TYPES: Readonly<Record<string, string>> = {
  ACK: '',
  ADR: 'A19',
  ADT: range('A', 1, 62),
  BAR: 'P01 P02 P05 P06 P10 P12',
  BPS: 'O29',
  BRP: 'O30',
  BRT: 'O32',
  BTS: 'O31',
  CCF: 'I22',
  CCI: 'I22',
  CCM: 'I21',
  CCQ: 'I19',
  CCU: 'I20',
  CQU: 'I19',
  CRM: range('C', 1, 8),
  CSU: range('C', 9, 12),
  DBC: 'O41 O42',
  DBU: 'O42',
  DEL: 'O46',
  DEO: 'O45',
  DER: 'O44',
  DFT: 'P03 P11',
  DOC: 'T12',
  DPR: 'O48',
  DRC: 'O47',
  DRG: 'O43',
  DSR: 'Q01 Q03 P04 R03',
  EAC: 'U07',
  EAN: 'U09',
  EAR: 'U08',
  EDR: 'R07',
  EHC: 'E01 E02 E04 E10 E12 E13 E15 E20 E21 E24',
  EQQ: 'Q04',
  ERP: 'R09',
  ESR: 'U02',
  ESU: 'U01',
  INR: 'U06 U14',
  INU: 'U05',
  LSR: 'U12',
  LSU: 'U12',
  MCF: 'Q02',
  MDM: range('T', 1, 11),
  MFD: 'MFA',
  MFK: range('M', 1, 17),
  MFN: range('M', 1, 19),
  MFQ: range('M', 1, 6),
  MFR: range('M', 1, 7),
  NMD: 'N02',
  NMQ: 'N01',
  NMR: 'N01',
  OMB: 'O27',
  OMD: 'O03',
  OMG: 'O19',
  OMI: 'O23',
  OML: 'O21 O33 O35 O39 O59',
  OMN: 'O07',
  OMP: 'O09',
  OMQ: 'O57',
  OMS: 'O05',
  OPL: 'O37',
  OPR: 'O38',
  OPU: 'R25',
  ORA: 'R33 R41',
  ORB: 'O28',
  ORD: 'O04',
  ORF: 'R02 R04',
  ORG: 'O20',
  ORI: 'O24',
  ORL: 'O22 O34 O36 O40 O53 O54 O55 O56',
  ORM: 'O01',
  ORN: 'O08',
  ORP: 'O10',
  ORR: 'O02',
  ORS: 'O06',
  ORU: 'R01 R03 R30 R31 R32 R40 R42 R43',
  ORX: 'O58',
  OSM: 'R26',
  OSQ: 'Q06',
  OSR: 'Q06',
  OSU: 'O51 O52',
  OUL: 'R21 R22 R23 R24',
  PEX: 'P07 P08',
  PGL: 'PC6 PC7 PC8',
  PIN: 'I07',
  PMU: 'B01 B02 B03 B04 B05 B06 B07 B08',
  PPG: 'PCG PCH PCJ',
  PPP: 'PCB PCC PCD',
  PPR: 'PC1 PC2 PC3',
  PPT: 'PCL',
  PPV: 'PCA',
  PRR: 'PC5',
  PTR: 'PCF',
  QBP: 'E03 E22 K13 Q11 Q13 Q15 Q21 Q22 Q23 Q24 Q25 Q31 Q32 Q33 Q34 Z73',
  QCK: 'Q02',
  QCN: 'J01',
  QRF: 'W02',
  QRY: 'A19 PC4 PC9 PCE PCK Q01 Q02 Q26 Q27 Q28 Q29 Q30 R02 R04 T12 P04',
  QSB: 'Q16',
  QSX: 'J02',
  QVR: 'Q17',
  RAR: 'RAR',
  RAS: 'O17',
  RCI: 'I05',
  RCL: 'I06',
  RDE: 'O11 O25 O49',
  RDR: 'RDR',
  RDS: 'O01 O13',
  RDY: 'K15 Z80 Z86 Z98',
  REF: 'I12 I13 I14 I15',
  RER: 'RER',
  RGR: 'RGR',
  RGV: 'O01 O15',
  ROR: 'ROR',
  RPA: 'I08 I09 I10 I11',
  RPI: 'I01 I04',
  RPL: 'I02',
  RPR: 'I03',
  RQA: 'I08 I09 I10 I11',
  RQC: 'I05 I06',
  RQI: 'I01 I02 I03 I07',
  RQP: 'I04',
  RQQ: 'Q09',
  RRA: 'O02 O18',
  RRD: 'O02 O14',
  RRE: 'O12 O26 O50',
  RRG: 'O02 O16',
  RRI: 'I12 I13 I14 I15',
  RSP: 'E03 E22 K11 K13 K21 K22 K23 K24 K25 K31 K32 K33 K34 Z82 Z84 Z86 Z88 Z90',
  RTB: 'K13 Z74',
  SCN: 'S37',
  SDN: 'S36',
  SDR: 'S31',
  SIU: range('S', 12, 27),
  SLN: 'S34 S35',
  SLR: 'S28 S29 S30',
  SMD: 'S32',
  SPQ: 'Q08',
  SQM: 'S25',
  SQR: 'S25',
  SRM: range('S', 1, 11),
  SRR: range('S', 1, 11),
  SSR: 'U04',
  SSU: 'U03',
  STC: 'S33',
  STI: 'S30',
  SUR: 'P09',
  TBR: 'R09 R08',
  TCR: 'U11',
  TCU: 'U10',
  UDM: 'Q05',
  VQQ: 'Q07',
  VXQ: 'V01',
  VXR: 'V03',
  VXU: 'V04',
  VXX: 'V02',
};

function range(letter: string, first: number, last: number): string {
  return Array.from(
    { length: last - first + 1 },
    (_, index) => `${letter}${String(first + index).padStart(2, '0')}`,
  ).join(' ');
}

const KNOWN_HL7 = new Map(
  Object.entries(HL7_TYPES).map(
    ([code, events]) => [code, new Set(events.split(' ').filter((event) => event !== ''))] as const,
  ),
);

/**
 * `ADT^A01` for a type of the tables; the code alone where the sender gave no trigger event; undefined for anything else.
 * @param code MSH-9.1
 * @param triggerEvent MSH-9.2, else EVN-1
 */
export function knownHl7Type(code: string, triggerEvent: string): string | undefined {
  const events = KNOWN_HL7.get(code);
  if (events === undefined) return undefined;
  if (triggerEvent === '') return code;
  // An acknowledgement carries the trigger event of what it acknowledges (HL7 v2.9 §2.13.1).
  if (code === 'ACK')
    return [...KNOWN_HL7.values()].some((others) => others.has(triggerEvent)) ? `ACK^${triggerEvent}` : undefined;
  return events.has(triggerEvent) ? `${code}^${triggerEvent}` : undefined;
}

/** MSH-12.1 of a published version. */
export function knownHl7Version(version: string): string | undefined {
  return /^2\.(1|2|3|3\.1|4|5|5\.1|6|7|7\.1|8|8\.1|8\.2|9|9\.1)$/.test(version) ? version : undefined;
}

/** Resource types of FHIR R4 (4.0.1). */
const FHIR_R4_TYPES = new Set(
  (
    'Account ActivityDefinition AdverseEvent AllergyIntolerance Appointment AppointmentResponse AuditEvent Basic Binary ' +
    'BiologicallyDerivedProduct BodyStructure Bundle CapabilityStatement CarePlan CareTeam CatalogEntry ChargeItem ' +
    'ChargeItemDefinition Claim ClaimResponse ClinicalImpression CodeSystem Communication CommunicationRequest ' +
    'CompartmentDefinition Composition ConceptMap Condition Consent Contract Coverage CoverageEligibilityRequest ' +
    'CoverageEligibilityResponse DetectedIssue Device DeviceDefinition DeviceMetric DeviceRequest DeviceUseStatement ' +
    'DiagnosticReport DocumentManifest DocumentReference EffectEvidenceSynthesis Encounter Endpoint EnrollmentRequest ' +
    'EnrollmentResponse EpisodeOfCare EventDefinition Evidence EvidenceVariable ExampleScenario ExplanationOfBenefit ' +
    'FamilyMemberHistory Flag Goal GraphDefinition Group GuidanceResponse HealthcareService ImagingStudy Immunization ' +
    'ImmunizationEvaluation ImmunizationRecommendation ImplementationGuide InsurancePlan Invoice Library Linkage List ' +
    'Location Measure MeasureReport Media Medication MedicationAdministration MedicationDispense MedicationKnowledge ' +
    'MedicationRequest MedicationStatement MedicinalProduct MedicinalProductAuthorization MedicinalProductContraindication ' +
    'MedicinalProductIndication MedicinalProductIngredient MedicinalProductInteraction MedicinalProductManufactured ' +
    'MedicinalProductPackaged MedicinalProductPharmaceutical MedicinalProductUndesirableEffect MessageDefinition ' +
    'MessageHeader MolecularSequence NamingSystem NutritionOrder Observation ObservationDefinition OperationDefinition ' +
    'OperationOutcome Organization OrganizationAffiliation Parameters Patient PaymentNotice PaymentReconciliation Person ' +
    'PlanDefinition Practitioner PractitionerRole Procedure Provenance Questionnaire QuestionnaireResponse RelatedPerson ' +
    'RequestGroup ResearchDefinition ResearchElementDefinition ResearchStudy ResearchSubject RiskAssessment ' +
    'RiskEvidenceSynthesis Schedule SearchParameter ServiceRequest Slot Specimen SpecimenDefinition StructureDefinition ' +
    'StructureMap Subscription Substance SubstanceNucleicAcid SubstancePolymer SubstanceProtein ' +
    'SubstanceReferenceInformation SubstanceSourceMaterial SubstanceSpecification SupplyDelivery SupplyRequest Task ' +
    'TerminologyCapabilities TestReport TestScript ValueSet VerificationResult VisionPrescription'
  ).split(' '),
);

export function isFhirR4Type(type: string): boolean {
  return FHIR_R4_TYPES.has(type);
}

const MEDIA_TYPE = /^[a-z0-9][a-z0-9!#$&^_.+-]{0,60}\/[a-z0-9][a-z0-9!#$&^_.+-]{0,60}$/;

/** Media type without parameters (RFC 9110 §8.3.1), lower case; what has not that form becomes `application/octet-stream`. */
export function mediaType(contentType: string | undefined): string {
  const type = (contentType ?? '').split(';', 1)[0]?.trim().toLowerCase() ?? '';
  return MEDIA_TYPE.test(type) ? type : 'application/octet-stream';
}

export const HL7_CONTENT_TYPE = 'x-application/hl7-v2+er7';
export const FHIR_CONTENT_TYPE = 'application/fhir+json';
export const EVENT_CONTENT_TYPE = 'application/json';
