/** Invented people. Names are drawn from lists per culture; no number here can belong to anybody (SSN area 9xx, 555-01xx). */
import { Random } from './random.js';

export interface Person {
  readonly index: number;
  readonly given: readonly string[];
  readonly family: string;
  readonly sex: 'F' | 'M';
  /** `YYYY-MM-DD` */
  readonly birthDate: string;
  readonly ssn?: string;
  readonly phone: string;
  readonly address: Address;
  readonly favoriteColor: string;
  readonly race: readonly [code: string, display: string];
  /** The hospital that knows the person, and the number it gave. */
  readonly hospital: Hospital;
  readonly mrn: string;
}

export interface Address {
  readonly line: string;
  readonly city: string;
  readonly state: string;
  readonly zip: string;
}

export interface Hospital {
  /** Assigning authority and sending facility. */
  readonly authority: string;
  readonly fhirSystem: string;
}

export const HOSPITALS: readonly Hospital[] = [
  { authority: 'MERCY', fhirSystem: 'https://mercy.example/mrn' },
  { authority: 'STANNE', fhirSystem: 'https://stanne.example/mrn' },
];

interface Culture {
  readonly weight: number;
  readonly families: readonly string[];
  readonly female: readonly string[];
  readonly male: readonly string[];
}

const list = (text: string): string[] => text.split(' ').map((word) => word.replaceAll('_', ' '));

const CULTURES: readonly Culture[] = [
  {
    weight: 30,
    families: list(
      "Whitfield Harlow Pemberton Ashdown Colby Marsden Thackeray Bramwell Kingsley Lockwood Fairbanks Hargrove Ellison Winslow Prescott Sutcliffe Holloway Redfern Langley O'Rourke O’Dwyer McAllister Fitzgerald Smith-Barnes",
    ),
    female: list(
      'Hazel Imogen Beatrix Clara Joan Rosalind Tabitha Audrey Maud Jayden Winifred Edith Nell Harriet Mary_Ann',
    ),
    male: list('Alistair Barnaby Clive Desmond Edmund Fergus Graham Hayden Ivor Jasper Kenneth Lionel Magnus Neville'),
  },
  {
    weight: 14,
    families: list(
      'García_Márquez Núñez Peña_Ortiz Ibáñez Villaseñor Quiñones Echeverría Zúñiga de_la_Cruz del_Río Avilés Castaño',
    ),
    female: list('Lucía Inés Begoña Ximena Araceli Concepción Nieves Itzel María_José Belén'),
    male: list('Iñigo Ángel Joaquín Ramón Efraín Andrés Tomás Jesús Nicolás José_Luis'),
  },
  {
    weight: 8,
    families: list('Müller-Groß Schäfer Köhler Weiß Jäger Böhm Strauß von_Bülow Rößler Vögele'),
    female: list('Änne Käthe Jörgine Gisela Heike Frauke Lieselotte Ülkü'),
    male: list('Jürgen Götz Björn Wolfgang Rüdiger Günther Sören Heinz-Peter'),
  },
  {
    weight: 8,
    families: list('Wójcik Błaszczyk Świątek Dąbrowska Dvořák Černý Novotná Růžička Kőszegi Szűcs Ștefănescu Țurcanu'),
    female: list('Łucja Agnieszka Zuzanna Božena Štěpánka Ilona Ágnes Mirela Ștefania'),
    male: list('Stanisław Zdzisław Jiří Řehoř László Őrs Mihăiță Bogumił'),
  },
  {
    weight: 6,
    families: list('Þórðardóttir Guðmundsson Ødegård Lindström Åkesson Mäkelä Søndergaard Bjørnstad'),
    female: list('Sigríður Åsa Solveig Ragnhild Hrönn Päivi Ylva'),
    male: list('Þór Håkon Øyvind Göran Jyrki Åke Sindri'),
  },
  {
    weight: 10,
    families: list('Okafor Adébáyọ̀ Nwachukwu Chukwuemeka Mensah Owusu-Ansah Diallo Tshabalala Mwangi Abubakar'),
    female: list('Adaeze Ngozi Yétúndé Abena Fatoumata Nomvula Wanjirũ Zainab'),
    male: list('Chidi Olúwaṣeun Kwabena Mamadou Sipho Kamau Ibrahim Emeka'),
  },
  {
    weight: 8,
    families: list('al-Khatib Haddad Benyoussef El_Amrani Yılmaz Çelik Şahin Öztürk Rostami Khān'),
    female: list('Layla Noor Hanaa Zeynep Gülşen Ayşe Parisa Maryam'),
    male: list('Mohammed Yusuf Khalil Çağlar İsmail Ömer Dariush Bilal'),
  },
  {
    weight: 8,
    families: list('Nguyễn Trần Phạm Đặng Watanabe Kobayashi Sato Park Choi Kim Li Zhang'),
    female: list('Thảo Hương Ngọc Sakura Haruka Ji-woo Mei Xiuying'),
    male: list('Đức Minh Hữu Kenji Takumi Min-jun Wei Jian'),
  },
  {
    weight: 4,
    families: list('Шевченко Іваненко Кузнецов Петрова Παπαδόπουλος Γεωργίου 王 李 田中 김'),
    female: list('Олена Наталія Светлана Ελένη Μαρία 秀英 花子 지우'),
    male: list('Андрій Сергей Дмитро Γιώργος Νίκος 伟 太郎 민준'),
  },
  {
    weight: 4,
    families: list('D’Souza Iyer Chaudhary Bhattacharya Jayawardena Singh Kaur Fernandes'),
    female: list('Ananya Lakshmi Priya Tharushi Harpreet Meera'),
    male: list('Arjun Rajesh Suresh Gurpreet Nuwan Vikram'),
  },
];

const WEIGHTED_CULTURES = CULTURES.map((culture) => [culture.weight, culture] as const);

const PLACES: readonly (readonly [city: string, state: string, zip: string])[] = [
  ['Springfield', 'IL', '62701'],
  ['Peoria', 'IL', '61602'],
  ['Boston', 'MA', '02115'],
  ['Cambridge', 'MA', '02139'],
  ['Galway', 'NY', '12074'],
  ['Albany', 'NY', '12207'],
  ['Cleveland', 'OH', '44113'],
  ['Columbus', 'OH', '43215'],
  ['Laramie', 'WY', '82070'],
  ['Cody', 'WY', '82414'],
  ['Burlington', 'VT', '05401'],
  ['Portland', 'ME', '04101'],
  ['Sheldon', 'VT', '05483'],
  // 03601 ff. are of the small-population list of ZIP3 (45 CFR 164.514(b), 2000 census: 036).
  ['Bellows', 'NH', '03602'],
];
const STREETS = [
  'Main St',
  'Harbour Road',
  'Elm Avenue',
  'Mill Lane',
  'Station Road',
  'Church Street',
  'Oak Drive',
  'Quarry Hill',
];
/** The last ones are not of the usual set. */
const COLORS: readonly (readonly [weight: number, color: string])[] = [
  [20, 'blue'],
  [14, 'green'],
  [12, 'teal'],
  [12, 'red'],
  [9, 'purple'],
  [8, 'yellow'],
  [7, 'orange'],
  [6, 'black'],
  [5, 'pink'],
  [4, 'white'],
  [3, 'chartreuse-ish'],
];
const RACES: readonly (readonly [weight: number, race: readonly [string, string]])[] = [
  [60, ['2106-3', 'White']],
  [15, ['2054-5', 'Black or African American']],
  [10, ['2028-9', 'Asian']],
  [3, ['1002-5', 'American Indian or Alaska Native']],
  [1, ['2076-8', 'Native Hawaiian or Other Pacific Islander']],
  [11, ['2131-1', 'Other Race']],
];

const DAYS_BY_MONTH = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

/** The person with this number: the same for the same seed, whoever else is invented. */
export function inventPerson(seed: number, index: number, year: number): Person {
  const random = new Random(seed, 1, index);
  const culture = random.weighted(WEIGHTED_CULTURES);
  const sex = random.chance(0.52) ? 'F' : 'M';
  const givens = sex === 'F' ? culture.female : culture.male;
  const given = random.chance(0.3) ? [random.pick(givens), random.pick(givens)] : [random.pick(givens)];
  const hospital = HOSPITALS[random.chance(0.75) ? 0 : 1] as Hospital;
  return {
    index,
    given,
    family: random.pick(culture.families),
    sex,
    birthDate: birthDate(random, year),
    ...(random.chance(0.6) ? { ssn: `9${random.digits(2)}-${random.digits(2)}-${random.digits(4)}` } : {}),
    phone: `${random.between(201, 989)}55501${random.digits(2)}`,
    address: inventAddress(random),
    favoriteColor: random.weighted(COLORS),
    race: random.weighted(RACES),
    hospital,
    mrn: String(100_000 + index * 2),
  };
}

/** The number under which a person is registered a second time by mistake. */
export function secondMrn(person: Person): string {
  return String(100_001 + person.index * 2);
}

export function inventAddress(random: Random): Address {
  const [city, state, zip] = random.pick(PLACES);
  return { line: `${random.between(1, 980)} ${random.pick(STREETS)}`, city, state, zip };
}

/** A family name of another line, for somebody who marries. */
export function otherFamily(random: Random, family: string): string {
  const other = random.pick(random.pick(CULTURES).families);
  return random.chance(0.4) ? `${family}-${other}` : other;
}

/** As a hurried clerk types it: without marks. */
export function withoutMarks(text: string): string {
  return text.normalize('NFKD').replace(/\p{M}/gu, '');
}

function birthDate(random: Random, year: number): string {
  const age = random.weighted([
    [8, random.between(0, 4)],
    [14, random.between(5, 17)],
    [30, random.between(18, 44)],
    [28, random.between(45, 69)],
    [17, random.between(70, 88)],
    [3, random.between(89, 101)],
  ]);
  const born = year - age - 1;
  const month = random.between(1, 12);
  const leap = month === 2 && born % 4 === 0 && (born % 100 !== 0 || born % 400 === 0);
  const day = random.between(1, (DAYS_BY_MONTH[month - 1] as number) + (leap ? 1 : 0));
  return `${born}-${String(month).padStart(2, '0')}-${String(day).padStart(2, '0')}`;
}
