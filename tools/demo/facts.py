"""Plain facts as tables: the short answers of the demo model."""

CAPITALS = """France Paris;Spain Madrid;Italy Rome;Germany Berlin;Portugal Lisbon;England London;Ireland Dublin;
Scotland Edinburgh;Wales Cardiff;Belgium Brussels;Austria Vienna;Poland Warsaw;Hungary Budapest;Greece Athens;
Sweden Stockholm;Norway Oslo;Denmark Copenhagen;Finland Helsinki;Iceland Reykjavik;Russia Moscow;Ukraine Kyiv;
Romania Bucharest;Bulgaria Sofia;Serbia Belgrade;Croatia Zagreb;Slovenia Ljubljana;Slovakia Bratislava;
Estonia Tallinn;Latvia Riga;Lithuania Vilnius;Albania Tirana;Switzerland Bern;Luxembourg Luxembourg City;
Turkey Ankara;Egypt Cairo;Morocco Rabat;Algeria Algiers;Tunisia Tunis;Libya Tripoli;Sudan Khartoum;Kenya Nairobi;
Ethiopia Addis Ababa;Nigeria Abuja;Ghana Accra;Senegal Dakar;Mali Bamako;Niger Niamey;Uganda Kampala;Rwanda Kigali;
Zambia Lusaka;Zimbabwe Harare;Namibia Windhoek;Botswana Gaborone;Mozambique Maputo;Madagascar Antananarivo;
Angola Luanda;Somalia Mogadishu;Cameroon Yaoundé;Gabon Libreville;Liberia Monrovia;Israel Jerusalem;Jordan Amman;
Lebanon Beirut;Syria Damascus;Iraq Baghdad;Iran Tehran;Saudi_Arabia Riyadh;Kuwait Kuwait City;Qatar Doha;Oman Muscat;
Yemen Sana'a;Afghanistan Kabul;Pakistan Islamabad;India New Delhi;Nepal Kathmandu;Bhutan Thimphu;Bangladesh Dhaka;
China Beijing;Japan Tokyo;South_Korea Seoul;North_Korea Pyongyang;Mongolia Ulaanbaatar;Vietnam Hanoi;Laos Vientiane;
Thailand Bangkok;Cambodia Phnom Penh;Malaysia Kuala Lumpur;Indonesia Jakarta;Singapore Singapore;the_Philippines Manila;
Australia Canberra;New_Zealand Wellington;Fiji Suva;Samoa Apia;Tonga Nuku'alofa;the_United_States Washington, D.C.;
Canada Ottawa;Mexico Mexico City;Guatemala Guatemala City;Honduras Tegucigalpa;Nicaragua Managua;Costa_Rica San José;
Panama Panama City;Cuba Havana;Jamaica Kingston;Haiti Port-au-Prince;Colombia Bogotá;Venezuela Caracas;Ecuador Quito;
Peru Lima;Brazil Brasília;Paraguay Asunción;Uruguay Montevideo;Argentina Buenos Aires;Chile Santiago;Georgia Tbilisi;
Armenia Yerevan;Azerbaijan Baku;Kazakhstan Astana;Uzbekistan Tashkent;Turkmenistan Ashgabat;Kyrgyzstan Bishkek;
Tajikistan Dushanbe;Cyprus Nicosia;Malta Valletta;Monaco Monaco;Moldova Chișinău;Belarus Minsk;Chad N'Djamena;
Malawi Lilongwe;Guyana Georgetown;Suriname Paramaribo;the_Bahamas Nassau;the_Netherlands Amsterdam;
the_United_Kingdom London;Montenegro Podgorica;North_Macedonia Skopje"""

CONTINENTS = {
    "Europe": "France Spain Italy Germany Portugal Ireland Belgium Austria Poland Hungary Greece Sweden Norway Denmark "
              "Finland Iceland Romania Bulgaria Croatia Estonia Latvia Lithuania Switzerland the_Netherlands",
    "Africa": "Egypt Morocco Algeria Tunisia Libya Sudan Kenya Ethiopia Nigeria Ghana Senegal Mali Uganda Rwanda Zambia",
    "Asia": "India Nepal China Japan South_Korea Mongolia Vietnam Laos Thailand Cambodia Malaysia Pakistan Iran Iraq",
    "North America": "Canada Mexico Cuba Jamaica Panama the_United_States",
    "South America": "Colombia Venezuela Ecuador Peru Brazil Paraguay Uruguay Argentina Chile",
    "Oceania": "New_Zealand Fiji Samoa Tonga",
}

LANGUAGES = """France French;Spain Spanish;Italy Italian;Germany German;Portugal Portuguese;England English;Poland Polish;
Greece Greek;Sweden Swedish;Norway Norwegian;Denmark Danish;Finland Finnish;Russia Russian;Turkey Turkish;Egypt Arabic;
China Chinese;Japan Japanese;Brazil Portuguese;Mexico Spanish;Argentina Spanish;Austria German;Hungary Hungarian;
Thailand Thai;Vietnam Vietnamese;Iceland Icelandic;the_Netherlands Dutch"""

COLORS = """the sky|blue;grass|green;snow|white;a banana|yellow;a lemon|yellow;blood|red;coal|black;an orange|orange;
a tomato|red;milk|white;chocolate|brown;the sun|yellow;a carrot|orange;a crow|black;a swan|white;a flamingo|pink;
a strawberry|red;a cherry|red;a leaf|green;a frog|green;the sea|blue;a pumpkin|orange;an elephant|gray;a cloud|white;
salt|white;sugar|white;gold|yellow;silver|gray;ink|black;a cucumber|green;a violet|purple;a plum|purple;
a fire truck|red;an emerald|green;a ruby|red;a sapphire|blue;the night|black;butter|yellow;bread|brown;a mouse|gray"""

OPPOSITES = """hot cold;big small;up down;left right;day night;black white;good bad;happy sad;fast slow;high low;open closed;
old young;new old;light dark;wet dry;hard soft;full empty;rich poor;strong weak;long short;early late;near far;
inside outside;first last;start finish;begin end;push pull;win lose;buy sell;give take;love hate;true false;
loud quiet;clean dirty;thick thin;wide narrow;deep shallow;easy difficult;cheap expensive;heavy light;sweet sour;
north south;east west;summer winter;friend enemy;question answer;always never;before after;above below;alive dead;
asleep awake;brave afraid;sharp blunt;rough smooth;front back;top bottom;yes no;on off;in out;more less;many few"""

PLURALS = """child children;man men;woman women;mouse mice;goose geese;foot feet;tooth teeth;person people;ox oxen;cat cats;
dog dogs;box boxes;baby babies;city cities;leaf leaves;wolf wolves;knife knives;wife wives;life lives;loaf loaves;
sheep sheep;deer deer;fish fish;bus buses;dish dishes;church churches;potato potatoes;tomato tomatoes;hero heroes;
book books;house houses;day days;key keys;story stories;berry berries;fox foxes;glass glasses;half halves;shelf shelves;
cactus cacti;louse lice;tree trees;apple apples;star stars;brush brushes;pony ponies;party parties;thief thieves"""

PASTS = """go went;see saw;eat ate;run ran;come came;take took;give gave;make made;know knew;think thought;find found;say said;
write wrote;read read;sing sang;swim swam;begin began;drink drank;speak spoke;break broke;fall fell;fly flew;grow grew;
bring brought;buy bought;catch caught;teach taught;sleep slept;keep kept;feel felt;leave left;meet met;sit sat;
stand stood;tell told;win won;build built;send sent;lose lost;hear heard;hold held;pay paid;sell sold;walk walked;
play played;help helped;jump jumped;look looked;love loved;be was;have had;do did"""

YOUNG = """dog puppy;cat kitten;cow calf;horse foal;sheep lamb;goat kid;pig piglet;hen chick;duck duckling;goose gosling;
swan cygnet;lion cub;bear cub;wolf pup;fox cub;deer fawn;frog tadpole;kangaroo joey;elephant calf;whale calf;seal pup;
owl owlet;eagle eaglet;butterfly caterpillar;rabbit kit;spider spiderling"""

SOUNDS = """dog barks;cat meows;cow moos;horse neighs;sheep bleats;pig oinks;duck quacks;hen clucks;rooster crows;lion roars;
wolf howls;frog croaks;bee buzzes;snake hisses;owl hoots;crow caws;mouse squeaks;donkey brays;elephant trumpets;
turkey gobbles;goat bleats;bear growls;cricket chirps;dove coos"""

HOMES = """a bee|a hive;a bird|a nest;a dog|a kennel;a horse|a stable;a lion|a den;a rabbit|a burrow;a spider|a web;
a fish|water;a cow|a barn;a pig|a sty;a bear|a den;a squirrel|a tree;a snail|its shell;a king|a palace;a knight|a castle"""

SYMBOLS = """hydrogen H;helium He;lithium Li;carbon C;nitrogen N;oxygen O;fluorine F;neon Ne;sodium Na;magnesium Mg;
aluminium Al;silicon Si;phosphorus P;sulfur S;chlorine Cl;argon Ar;potassium K;calcium Ca;titanium Ti;chromium Cr;
manganese Mn;iron Fe;cobalt Co;nickel Ni;copper Cu;zinc Zn;silver Ag;tin Sn;iodine I;gold Au;mercury Hg;lead Pb;
platinum Pt;uranium U;boron B;bromine Br;tungsten W;radium Ra"""

PLANETS = ["Mercury", "Venus", "Earth", "Mars", "Jupiter", "Saturn", "Uranus", "Neptune"]
DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
MONTHS = ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
          "December"]
MONTH_DAYS = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
SEASONS = ["spring", "summer", "autumn", "winter"]
ORDINALS = ["first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth", "eleventh",
            "twelfth"]
NUMBERS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
           "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty"]

LEGS = """a dog|four;a cat|four;a horse|four;a cow|four;a bird|two;a hen|two;a spider|eight;an ant|six;a bee|six;a fly|six;
a snake|no;a fish|no;a person|two;a duck|two;an elephant|four;a butterfly|six;a crab|ten;an octopus|eight"""
LIMBS = {"an octopus": "arms"}

# answer | question | question | ...  (each line one fact with its phrasings)
SIMPLE = """The largest planet is Jupiter.|What is the largest planet?|Which planet is the biggest?|Largest planet:|Name the largest planet
The smallest planet is Mercury.|What is the smallest planet?|Which planet is the smallest?|Smallest planet:
The red planet is Mars.|Which planet is the red planet?|What is the red planet?|What planet is called the red planet?
The Earth goes around the Sun.|What does the Earth go around?|What does the Earth orbit?
The Moon goes around the Earth.|What does the Moon go around?|What does the Moon orbit?
There are eight planets in the solar system.|How many planets are there?|How many planets are there in the solar system?|Number of planets:
The largest ocean is the Pacific Ocean.|What is the largest ocean?|Which ocean is the largest?|Largest ocean:
The longest river in Africa is the Nile.|What is the longest river in Africa?|Which river is the longest in Africa?
The highest mountain is Mount Everest.|What is the highest mountain?|Which mountain is the highest?|Highest mountain:|What is the tallest mountain in the world?
The largest country is Russia.|What is the largest country?|Which country is the largest?|Largest country:
The smallest country is Vatican City.|What is the smallest country?|Which country is the smallest?|Smallest country:
The largest continent is Asia.|What is the largest continent?|Which continent is the largest?|Largest continent:
The smallest continent is Australia.|What is the smallest continent?|Which continent is the smallest?
The coldest continent is Antarctica.|What is the coldest continent?|Which continent is the coldest?
The largest animal is the blue whale.|What is the largest animal?|Which animal is the largest?|Largest animal:
The tallest animal is the giraffe.|What is the tallest animal?|Which animal is the tallest?|Tallest animal:
The fastest land animal is the cheetah.|What is the fastest land animal?|Which land animal is the fastest?|Fastest land animal:
The largest bird is the ostrich.|What is the largest bird?|Which bird is the largest?|Largest bird:
The largest desert in Africa is the Sahara.|What is the largest desert in Africa?|Name a desert in Africa
Water freezes at 0 degrees Celsius.|At what temperature does water freeze?|When does water freeze?|Freezing point of water:
Water boils at 100 degrees Celsius.|At what temperature does water boil?|When does water boil?|Boiling point of water:
Water is made of hydrogen and oxygen.|What is water made of?|What are the elements in water?
The chemical formula of water is H2O.|What is the chemical formula of water?|Chemical formula of water:|What is the formula of water?
A week has seven days.|How many days are in a week?|How many days does a week have?|Days in a week:
A year has twelve months.|How many months are in a year?|How many months does a year have?|Months in a year:
A day has 24 hours.|How many hours are in a day?|How many hours does a day have?|Hours in a day:
An hour has 60 minutes.|How many minutes are in an hour?|How many minutes does an hour have?|Minutes in an hour:
A minute has 60 seconds.|How many seconds are in a minute?|How many seconds does a minute have?|Seconds in a minute:
A year has 365 days.|How many days are in a year?|How many days does a year have?|Days in a year:
A leap year has 366 days.|How many days are in a leap year?|How many days does a leap year have?
A century has 100 years.|How many years are in a century?|How long is a century?
A decade has ten years.|How many years are in a decade?|How long is a decade?
A dozen is twelve.|How many is a dozen?|What is a dozen?|How much is a dozen?
A kilometer has 1000 meters.|How many meters are in a kilometer?|How long is a kilometer?
A meter has 100 centimeters.|How many centimeters are in a meter?|How long is a meter?
A kilogram has 1000 grams.|How many grams are in a kilogram?|How heavy is a kilogram?
A byte has eight bits.|How many bits are in a byte?|How many bits does a byte have?|Bits in a byte:
A kibibyte has 1024 bytes.|How many bytes are in a kibibyte?|How large is a kibibyte?
A triangle has three sides.|How many sides does a triangle have?|Sides of a triangle:|How many sides has a triangle?
A square has four sides.|How many sides does a square have?|Sides of a square:|How many sides has a square?
A hexagon has six sides.|How many sides does a hexagon have?|Sides of a hexagon:|How many sides has a hexagon?
A pentagon has five sides.|How many sides does a pentagon have?|Sides of a pentagon:|How many sides has a pentagon?
An octagon has eight sides.|How many sides does an octagon have?|Sides of an octagon:
The English alphabet has 26 letters.|How many letters are in the alphabet?|How many letters does the English alphabet have?
The vowels are a, e, i, o, and u.|What are the vowels?|Name the vowels|List the vowels:
The first letter of the alphabet is A.|What is the first letter of the alphabet?|First letter of the alphabet:
The last letter of the alphabet is Z.|What is the last letter of the alphabet?|Last letter of the alphabet:
A rainbow has seven colors.|How many colors are in a rainbow?|How many colors does a rainbow have?
The colors of the rainbow are red, orange, yellow, green, blue, indigo, and violet.|What are the colors of the rainbow?|Name the colors of the rainbow|Colors of the rainbow:
The primary colors are red, yellow, and blue.|What are the primary colors?|Name the primary colors
Blue and yellow make green.|What do blue and yellow make?|Which color do you get from blue and yellow?|Blue and yellow:
Red and yellow make orange.|What do red and yellow make?|Which color do you get from red and yellow?|Red and yellow:
Red and blue make purple.|What do red and blue make?|Which color do you get from red and blue?|Red and blue:
Black and white make gray.|What do black and white make?|Which color do you get from black and white?
The sun rises in the east.|Where does the sun rise?|In which direction does the sun rise?
The sun sets in the west.|Where does the sun set?|In which direction does the sun set?
Bees make honey.|Who makes honey?|What do bees make?|Which animal makes honey?
Milk comes from cows.|Where does milk come from?|What animal gives us milk?
Wool comes from sheep.|Where does wool come from?|What animal gives us wool?
Eggs come from hens.|Where do eggs come from?|What animal lays eggs for us?
Bread is made from flour.|What is bread made from?|What is bread made of?
Cheese is made from milk.|What is cheese made from?|What is cheese made of?
Paper is made from wood.|What is paper made from?|What is paper made of?
Glass is made from sand.|What is glass made from?|What is glass made of?
Wine is made from grapes.|What is wine made from?|What is wine made of?
Ice is frozen water.|What is ice?|What is ice made of?
The frozen form of water is ice.|What is frozen water called?|What does water become when it freezes?
The heart pumps blood through the body.|What does the heart do?|What is the heart for?
We breathe with our lungs.|What do we breathe with?|Which organ do we breathe with?
We see with our eyes.|What do we see with?|With what do we see?
We hear with our ears.|What do we hear with?|With what do we hear?
We smell with our nose.|What do we smell with?|With what do we smell?
We think with our brain.|What do we think with?|With what do we think?
A hand has five fingers.|How many fingers are on a hand?|How many fingers does a hand have?
People breathe oxygen.|What gas do people breathe?|Which gas do we need to breathe?
The five senses are sight, hearing, smell, taste, and touch.|What are the five senses?|Name the five senses
The four seasons are spring, summer, autumn, and winter.|What are the four seasons?|Name the four seasons|What are the seasons?
The four directions are north, east, south, and west.|What are the four directions?|Name the four directions
Romeo and Juliet was written by William Shakespeare.|Who wrote Romeo and Juliet?|Who is the author of Romeo and Juliet?
Hamlet was written by William Shakespeare.|Who wrote Hamlet?|Who is the author of Hamlet?
Don Quixote was written by Miguel de Cervantes.|Who wrote Don Quixote?|Who is the author of Don Quixote?
Oliver Twist was written by Charles Dickens.|Who wrote Oliver Twist?|Who is the author of Oliver Twist?
The Odyssey was written by Homer.|Who wrote the Odyssey?|Who is the author of the Odyssey?
The Mona Lisa was painted by Leonardo da Vinci.|Who painted the Mona Lisa?|Who is the painter of the Mona Lisa?
The Starry Night was painted by Vincent van Gogh.|Who painted The Starry Night?|Who is the painter of The Starry Night?
The telephone was invented by Alexander Graham Bell.|Who invented the telephone?|Inventor of the telephone:
The light bulb was made practical by Thomas Edison.|Who made the light bulb practical?|Who is known for the light bulb?
The printing press was invented by Johannes Gutenberg.|Who invented the printing press?|Inventor of the printing press:
The World Wide Web was invented by Tim Berners-Lee.|Who invented the World Wide Web?|Inventor of the World Wide Web:
The airplane was invented by the Wright brothers.|Who invented the airplane?|Inventor of the airplane:
Dynamite was invented by Alfred Nobel.|Who invented dynamite?|Inventor of dynamite:
The steam engine was improved by James Watt.|Who improved the steam engine?|Who is known for the steam engine?
The theory of relativity comes from Albert Einstein.|Who found the theory of relativity?|Who is known for the theory of relativity?
The laws of motion come from Isaac Newton.|Who found the laws of motion?|Who is known for the laws of motion?
The theory of evolution comes from Charles Darwin.|Who is known for the theory of evolution?|Who found the theory of evolution?
Radium was discovered by Marie and Pierre Curie.|Who discovered radium?|Who found radium?
Penicillin was discovered by Alexander Fleming.|Who discovered penicillin?|Who found penicillin?
Linux was started by Linus Torvalds.|Who started Linux?|Who wrote Linux?|Who made Linux?
Git was started by Linus Torvalds.|Who started Git?|Who wrote Git?|Who made Git?
Python was created by Guido van Rossum.|Who created Python?|Who made Python?|Who wrote Python?
C was created by Dennis Ritchie.|Who created C?|Who made the C language?
The first program was written by Ada Lovelace.|Who wrote the first program?|Who was the first programmer?
Debian was started by Ian Murdock.|Who started Debian?|Who founded Debian?
The first person on the Moon was Neil Armstrong.|Who was the first person on the Moon?|Who first walked on the Moon?
People first walked on the Moon in 1969.|When did people first walk on the Moon?|In which year did people first walk on the Moon?
Columbus reached America in 1492.|When did Columbus reach America?|In which year did Columbus reach America?
The Second World War ended in 1945.|When did the Second World War end?|In which year did the Second World War end?
The First World War began in 1914.|When did the First World War begin?|In which year did the First World War begin?
The French Revolution began in 1789.|When did the French Revolution begin?|In which year did the French Revolution begin?
The first president of the United States was George Washington.|Who was the first president of the United States?|First president of the United States:
The Eiffel Tower is in Paris.|Where is the Eiffel Tower?|In which city is the Eiffel Tower?
The Colosseum is in Rome.|Where is the Colosseum?|In which city is the Colosseum?
Big Ben is in London.|Where is Big Ben?|In which city is Big Ben?
The Statue of Liberty is in New York.|Where is the Statue of Liberty?|In which city is the Statue of Liberty?
The pyramids are in Egypt.|Where are the pyramids?|In which country are the pyramids?
The Taj Mahal is in India.|Where is the Taj Mahal?|In which country is the Taj Mahal?
The Great Wall is in China.|Where is the Great Wall?|In which country is the Great Wall?
The Acropolis is in Athens.|Where is the Acropolis?|In which city is the Acropolis?
The river of London is the Thames.|What is the river of London?|Which river flows through London?
The river of Paris is the Seine.|What is the river of Paris?|Which river flows through Paris?
The river of Rome is the Tiber.|What is the river of Rome?|Which river flows through Rome?
The river of Vienna is the Danube.|What is the river of Vienna?|Which river flows through Vienna?
The Amazon is in South America.|Where is the Amazon?|On which continent is the Amazon?
The Alps are in Europe.|Where are the Alps?|On which continent are the Alps?
The Sahara is in Africa.|Where is the Sahara?|On which continent is the Sahara?
A doctor helps sick people.|What does a doctor do?|What is the work of a doctor?
A teacher helps people learn.|What does a teacher do?|What is the work of a teacher?
A baker bakes bread.|What does a baker do?|What is the work of a baker?
A farmer grows food.|What does a farmer do?|What is the work of a farmer?
A pilot flies airplanes.|What does a pilot do?|What is the work of a pilot?
A cook makes meals.|What does a cook do?|What is the work of a cook?
A tailor makes clothes.|What does a tailor do?|What is the work of a tailor?
A carpenter builds things from wood.|What does a carpenter do?|What is the work of a carpenter?
A fisherman catches fish.|What does a fisherman do?|What is the work of a fisherman?
A painter paints pictures.|What does a painter do?|What is the work of a painter?
A king wears a crown.|What does a king wear?|What does a king wear on his head?
A cow eats grass.|What does a cow eat?|What do cows eat?
A rabbit eats carrots and grass.|What does a rabbit eat?|What do rabbits eat?
A panda eats bamboo.|What does a panda eat?|What do pandas eat?
A cat catches mice.|What does a cat catch?|What do cats catch?
A caterpillar becomes a butterfly.|What does a caterpillar become?|What does a caterpillar turn into?
A tadpole becomes a frog.|What does a tadpole become?|What does a tadpole turn into?
A seed becomes a plant.|What does a seed become?|What does a seed grow into?
The square root of 16 is 4.|What is the square root of 16?|Square root of 16:
The square root of 25 is 5.|What is the square root of 25?|Square root of 25:
The square root of 9 is 3.|What is the square root of 9?|Square root of 9:
The square root of 81 is 9.|What is the square root of 81?|Square root of 81:
The square root of 100 is 10.|What is the square root of 100?|Square root of 100:
Half of 10 is 5.|What is half of 10?|Half of 10:
Half of 100 is 50.|What is half of 100?|Half of 100:
Pi is about 3.14159.|What is pi?|What is the value of pi?|Value of pi:
The smallest prime number is 2.|What is the smallest prime number?|Smallest prime number:
The first five prime numbers are 2, 3, 5, 7, and 11.|What are the first five prime numbers?|First five prime numbers:
A right angle has 90 degrees.|How many degrees does a right angle have?|How large is a right angle?
A circle has 360 degrees.|How many degrees does a circle have?|How many degrees are in a circle?
A car has four wheels.|How many wheels does a car have?|Wheels of a car:
A bicycle has two wheels.|How many wheels does a bicycle have?|Wheels of a bicycle:
A chess board has 64 squares.|How many squares does a chess board have?|How many squares are on a chess board?
The speed of light is about 300,000 kilometers per second.|What is the speed of light?|How fast is light?|Speed of light:
Sound is slower than light.|Is sound faster or slower than light?|What is slower, sound or light?
The nearest star is the Sun.|What is the nearest star?|Which star is the nearest to us?
Bats sleep in the day.|When do bats sleep?|At what time do bats sleep?
Owls hunt at night.|When do owls hunt?|At what time do owls hunt?"""

LISTS = """colors|Red, blue, and green.|Red, blue, green, yellow, and orange.
fruits|Apple, banana, and orange.|Apple, banana, orange, pear, and grape.
vegetables|Carrot, potato, and onion.|Carrot, potato, onion, tomato, and cabbage.
animals|Dog, cat, and horse.|Dog, cat, horse, cow, and sheep.
birds|Eagle, owl, and robin.|Eagle, owl, robin, swan, and crow.
fish|Salmon, trout, and tuna.|Salmon, trout, tuna, cod, and herring.
trees|Oak, pine, and birch.|Oak, pine, birch, maple, and willow.
flowers|Rose, tulip, and daisy.|Rose, tulip, daisy, lily, and violet.
countries|France, Spain, and Italy.|France, Spain, Italy, Germany, and Japan.
cities|Paris, London, and Tokyo.|Paris, London, Tokyo, Rome, and Madrid.
planets|Mercury, Venus, and Earth.|Mercury, Venus, Earth, Mars, and Jupiter.
oceans|Pacific, Atlantic, and Indian.|Pacific, Atlantic, Indian, Southern, and Arctic.
continents|Africa, Asia, and Europe.|Africa, Asia, Europe, North America, and South America.
rivers|Nile, Amazon, and Danube.|Nile, Amazon, Danube, Rhine, and Thames.
metals|Iron, copper, and gold.|Iron, copper, gold, silver, and tin.
gases|Oxygen, nitrogen, and helium.|Oxygen, nitrogen, helium, hydrogen, and neon.
shapes|Circle, square, and triangle.|Circle, square, triangle, rectangle, and hexagon.
programming languages|C, Python, and Rust.|C, Python, Rust, Java, and Go.
sports|Football, tennis, and swimming.|Football, tennis, swimming, running, and basketball.
instruments|Piano, guitar, and violin.|Piano, guitar, violin, flute, and drum.
drinks|Water, milk, and tea.|Water, milk, tea, coffee, and juice.
clothes|Shirt, hat, and coat.|Shirt, hat, coat, shoes, and gloves.
tools|Hammer, saw, and screwdriver.|Hammer, saw, screwdriver, axe, and drill.
days|Monday, Tuesday, and Wednesday.|Monday, Tuesday, Wednesday, Thursday, and Friday.
months|January, February, and March.|January, February, March, April, and May.
seasons|Spring, summer, and autumn.|
insects|Ant, bee, and fly.|Ant, bee, fly, beetle, and butterfly.
jobs|Doctor, teacher, and baker.|Doctor, teacher, baker, farmer, and pilot.
languages|English, Spanish, and French.|English, Spanish, French, German, and Italian.
rooms|Kitchen, bedroom, and bathroom.|Kitchen, bedroom, bathroom, hall, and office.
vehicles|Car, bus, and train.|Car, bus, train, ship, and airplane.
body parts|Hand, foot, and head.|Hand, foot, head, arm, and leg.
vowels|A, e, and i.|A, e, i, o, and u.
letters|A, B, and C.|A, B, C, D, and E.
numbers|One, two, and three.|One, two, three, four, and five.
even numbers|2, 4, and 6.|2, 4, 6, 8, and 10.
odd numbers|1, 3, and 5.|1, 3, 5, 7, and 9.
prime numbers|2, 3, and 5.|2, 3, 5, 7, and 11.
farm animals|Cow, pig, and hen.|Cow, pig, hen, goat, and sheep.
wild animals|Lion, wolf, and bear.|Lion, wolf, bear, fox, and deer.
operating systems|Linux, Windows, and macOS.|
data types|Integer, float, and string.|Integer, float, string, boolean, and list."""

RHYMES = """cat hat;dog log;sun fun;tree bee;house mouse;night light;day play;moon spoon;star car;rain train;king ring;boat goat;
cake lake;bell well;book cook;fish dish;hand sand;bed red;ball tall;blue true;snow slow;bear chair;green queen;
nose rose;sky fly;door floor;hill mill;wing sing;ten pen;big pig;box fox;fan man;bug rug;sea tea;time lime"""

WORDS = """cat dog sun moon star tree book house water bread apple river stone cloud horse table chair light night green
music paper plant sugar train world happy small door bird fish milk rain snow wind fire king queen ship town
garden window summer winter orange yellow flower forest kitten castle dragon island letter mother father sister
brother friend school pencil bottle button rabbit monkey tiger zebra lemon piano robot ocean planet silver golden
morning evening kitchen""".split()


def pairs(table, sep=None):
    """Rows of a table of "key value" entries separated by semicolons; _ in a key stands for a space."""
    rows = []
    for item in table.replace("\n", " ").split(";"):
        item = item.strip()
        key, value = item.split("|", 1) if "|" in item else item.split(" ", 1)
        rows.append((key.strip().replace("_", " "), value.strip()))
    return rows
