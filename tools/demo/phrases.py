"""Fixed phrases in five languages: English | Spanish | French | German | Italian."""

PHRASES = """Hello world|¡Hola mundo!|Bonjour le monde !|Hallo Welt!|Ciao mondo!
Hello|Hola|Bonjour|Hallo|Ciao
Good morning|Buenos días|Bonjour|Guten Morgen|Buongiorno
Good evening|Buenas tardes|Bonsoir|Guten Abend|Buonasera
Good night|Buenas noches|Bonne nuit|Gute Nacht|Buonanotte
Goodbye|Adiós|Au revoir|Auf Wiedersehen|Arrivederci
Thank you|Gracias|Merci|Danke|Grazie
Thank you very much|Muchas gracias|Merci beaucoup|Vielen Dank|Grazie mille
Please|Por favor|S'il vous plaît|Bitte|Per favore
Yes|Sí|Oui|Ja|Sì
No|No|Non|Nein|No
Excuse me|Perdón|Excusez-moi|Entschuldigung|Scusi
I am sorry|Lo siento|Je suis désolé|Es tut mir leid|Mi dispiace
How are you?|¿Cómo estás?|Comment vas-tu ?|Wie geht es dir?|Come stai?
I am fine|Estoy bien|Je vais bien|Mir geht es gut|Sto bene
What is your name?|¿Cómo te llamas?|Comment t'appelles-tu ?|Wie heißt du?|Come ti chiami?
My name is Anna|Me llamo Anna|Je m'appelle Anna|Ich heiße Anna|Mi chiamo Anna
Welcome|Bienvenido|Bienvenue|Willkommen|Benvenuto
See you tomorrow|Hasta mañana|À demain|Bis morgen|A domani
See you soon|Hasta pronto|À bientôt|Bis bald|A presto
I love you|Te quiero|Je t'aime|Ich liebe dich|Ti amo
Good luck|Buena suerte|Bonne chance|Viel Glück|Buona fortuna
Happy birthday|Feliz cumpleaños|Joyeux anniversaire|Alles Gute zum Geburtstag|Buon compleanno
Merry Christmas|Feliz Navidad|Joyeux Noël|Frohe Weihnachten|Buon Natale
Enjoy your meal|Buen provecho|Bon appétit|Guten Appetit|Buon appetito
Have a good trip|Buen viaje|Bon voyage|Gute Reise|Buon viaggio
I do not know|No lo sé|Je ne sais pas|Ich weiß es nicht|Non lo so
I do not understand|No entiendo|Je ne comprends pas|Ich verstehe nicht|Non capisco
Where are you?|¿Dónde estás?|Où es-tu ?|Wo bist du?|Dove sei?
What time is it?|¿Qué hora es?|Quelle heure est-il ?|Wie spät ist es?|Che ore sono?
I am hungry|Tengo hambre|J'ai faim|Ich habe Hunger|Ho fame
I am thirsty|Tengo sed|J'ai soif|Ich habe Durst|Ho sete
I am tired|Estoy cansado|Je suis fatigué|Ich bin müde|Sono stanco
I am happy|Estoy feliz|Je suis heureux|Ich bin glücklich|Sono felice
The cat|El gato|Le chat|Die Katze|Il gatto
The dog|El perro|Le chien|Der Hund|Il cane
The house|La casa|La maison|Das Haus|La casa
The book|El libro|Le livre|Das Buch|Il libro
The sun|El sol|Le soleil|Die Sonne|Il sole
The moon|La luna|La lune|Der Mond|La luna
The water|El agua|L'eau|Das Wasser|L'acqua
The bread|El pan|Le pain|Das Brot|Il pane
The milk|La leche|Le lait|Die Milch|Il latte
The tree|El árbol|L'arbre|Der Baum|L'albero
The sea|El mar|La mer|Das Meer|Il mare
The city|La ciudad|La ville|Die Stadt|La città
The street|La calle|La rue|Die Straße|La strada
The door|La puerta|La porte|Die Tür|La porta
The window|La ventana|La fenêtre|Das Fenster|La finestra
The table|La mesa|La table|Der Tisch|Il tavolo
The chair|La silla|La chaise|Der Stuhl|La sedia
The school|La escuela|L'école|Die Schule|La scuola
The friend|El amigo|L'ami|Der Freund|L'amico
The mother|La madre|La mère|Die Mutter|La madre
The father|El padre|Le père|Der Vater|Il padre
The brother|El hermano|Le frère|Der Bruder|Il fratello
The sister|La hermana|La sœur|Die Schwester|La sorella
The child|El niño|L'enfant|Das Kind|Il bambino
The man|El hombre|L'homme|Der Mann|L'uomo
The woman|La mujer|La femme|Die Frau|La donna
The day|El día|Le jour|Der Tag|Il giorno
The night|La noche|La nuit|Die Nacht|La notte
The year|El año|L'année|Das Jahr|L'anno
The fire|El fuego|Le feu|Das Feuer|Il fuoco
The flower|La flor|La fleur|Die Blume|Il fiore
The horse|El caballo|Le cheval|Das Pferd|Il cavallo
The bird|El pájaro|L'oiseau|Der Vogel|L'uccello
The fish|El pez|Le poisson|Der Fisch|Il pesce
The apple|La manzana|La pomme|Der Apfel|La mela
The car|El coche|La voiture|Das Auto|La macchina
The train|El tren|Le train|Der Zug|Il treno
The computer|El ordenador|L'ordinateur|Der Computer|Il computer
The word|La palabra|Le mot|Das Wort|La parola
The heart|El corazón|Le cœur|Das Herz|Il cuore
The hand|La mano|La main|Die Hand|La mano
One|Uno|Un|Eins|Uno
Two|Dos|Deux|Zwei|Due
Three|Tres|Trois|Drei|Tre
Four|Cuatro|Quatre|Vier|Quattro
Five|Cinco|Cinq|Fünf|Cinque
Six|Seis|Six|Sechs|Sei
Seven|Siete|Sept|Sieben|Sette
Eight|Ocho|Huit|Acht|Otto
Nine|Nueve|Neuf|Neun|Nove
Ten|Diez|Dix|Zehn|Dieci
Red|Rojo|Rouge|Rot|Rosso
Blue|Azul|Bleu|Blau|Blu
Green|Verde|Vert|Grün|Verde
Yellow|Amarillo|Jaune|Gelb|Giallo
White|Blanco|Blanc|Weiß|Bianco
Black|Negro|Noir|Schwarz|Nero
Monday|Lunes|Lundi|Montag|Lunedì
Tuesday|Martes|Mardi|Dienstag|Martedì
Wednesday|Miércoles|Mercredi|Mittwoch|Mercoledì
Thursday|Jueves|Jeudi|Donnerstag|Giovedì
Friday|Viernes|Vendredi|Freitag|Venerdì
Saturday|Sábado|Samedi|Samstag|Sabato
Sunday|Domingo|Dimanche|Sonntag|Domenica
Spring|La primavera|Le printemps|Der Frühling|La primavera
Summer|El verano|L'été|Der Sommer|L'estate
Autumn|El otoño|L'automne|Der Herbst|L'autunno
Winter|El invierno|L'hiver|Der Winter|L'inverno
Today|Hoy|Aujourd'hui|Heute|Oggi
Tomorrow|Mañana|Demain|Morgen|Domani
Yesterday|Ayer|Hier|Gestern|Ieri
Always|Siempre|Toujours|Immer|Sempre
Never|Nunca|Jamais|Nie|Mai
Big|Grande|Grand|Groß|Grande
Small|Pequeño|Petit|Klein|Piccolo
Good|Bueno|Bon|Gut|Buono
Bad|Malo|Mauvais|Schlecht|Cattivo
I drink water|Bebo agua|Je bois de l'eau|Ich trinke Wasser|Bevo acqua
I eat bread|Como pan|Je mange du pain|Ich esse Brot|Mangio pane
I have a dog|Tengo un perro|J'ai un chien|Ich habe einen Hund|Ho un cane
I have a cat|Tengo un gato|J'ai un chat|Ich habe eine Katze|Ho un gatto
The sky is blue|El cielo es azul|Le ciel est bleu|Der Himmel ist blau|Il cielo è blu
The house is big|La casa es grande|La maison est grande|Das Haus ist groß|La casa è grande
The cat is black|El gato es negro|Le chat est noir|Die Katze ist schwarz|Il gatto è nero
The water is cold|El agua está fría|L'eau est froide|Das Wasser ist kalt|L'acqua è fredda
It is raining|Está lloviendo|Il pleut|Es regnet|Piove
It is cold|Hace frío|Il fait froid|Es ist kalt|Fa freddo
It is hot|Hace calor|Il fait chaud|Es ist heiß|Fa caldo
I like music|Me gusta la música|J'aime la musique|Ich mag Musik|Mi piace la musica
I read a book|Leo un libro|Je lis un livre|Ich lese ein Buch|Leggo un libro
We are friends|Somos amigos|Nous sommes amis|Wir sind Freunde|Siamo amici
Where is the station?|¿Dónde está la estación?|Où est la gare ?|Wo ist der Bahnhof?|Dov'è la stazione?
How much does it cost?|¿Cuánto cuesta?|Combien ça coûte ?|Wie viel kostet das?|Quanto costa?
Do you speak English?|¿Hablas inglés?|Parlez-vous anglais ?|Sprechen Sie Englisch?|Parli inglese?
The train is late|El tren llega tarde|Le train est en retard|Der Zug hat Verspätung|Il treno è in ritardo
I live in a small town|Vivo en un pueblo pequeño|J'habite dans une petite ville|Ich wohne in einer kleinen Stadt|Vivo in una piccola città"""

LANGUAGES = ["Spanish", "French", "German", "Italian"]
