"""Definitions (one sentence) and short explanations (a few sentences), with yes/no questions."""

# thing | sentence; "What is X?" and its sisters lead to the sentence
DEFINITIONS = """a compiler|A compiler is a program that turns source code into machine code.
an interpreter|An interpreter is a program that runs source code step by step.
a computer|A computer is a machine that follows the instructions of a program.
a program|A program is a list of instructions for a computer.
a variable|A variable is a name for a value in a program.
a function|A function is a named piece of code that can be called.
a loop|A loop is a piece of code that runs several times.
an array|An array is a row of values of the same type.
a list|A list is a sequence of values in a fixed order.
a string|A string is a sequence of characters.
an integer|An integer is a whole number.
a boolean|A boolean is a value that is either true or false.
a bug|A bug is a mistake in a program.
an algorithm|An algorithm is a clear sequence of steps that solves a problem.
a database|A database is an ordered collection of data.
an operating system|An operating system is the program that manages a computer.
a kernel|A kernel is the innermost part of an operating system, or a function that runs on a GPU.
a file|A file is a named piece of data on a disk.
a folder|A folder is a place that holds files.
a network|A network is a group of computers that can exchange data.
a server|A server is a computer or program that gives a service to others.
a browser|A browser is a program that shows web pages.
a password|A password is a secret word that protects an account.
a keyboard|A keyboard is a device with keys for typing.
a mouse pad|A mouse pad is a flat surface for a computer mouse.
a screen|A screen is a surface that shows pictures and text.
a printer|A printer is a machine that puts text and pictures on paper.
a robot|A robot is a machine that can do work by itself.
a GPU|A GPU is a processor that does many simple calculations at the same time.
a CPU|A CPU is the main processor of a computer.
memory|Memory is the place where a computer keeps data while it works.
a disk|A disk is a device that keeps data when the power is off.
a byte|A byte is a group of eight bits.
a bit|A bit is a zero or a one.
a pointer|A pointer is a value that holds the address of something in memory.
a stack|A stack is a list where the last thing put in is the first taken out.
a queue|A queue is a list where the first thing put in is the first taken out.
a tree in computing|A tree in computing is a structure in which each node has one parent and any number of children.
a hash table|A hash table is a structure that finds a value quickly by its key.
a thread|A thread is a path of execution inside a program.
a process|A process is a program that is running.
recursion|Recursion is when a function calls itself.
open source|Open source means that everybody may read, use, and change the source code.
a library in programming|A library in programming is a collection of code that other programs can use.
a test|A test is a check that shows whether something works.
a repository|A repository is a place where the files and the history of a project are kept.
a commit|A commit is a saved change in the history of a project.
a neural network|A neural network is a model made of layers of simple numbers and functions that learns from examples.
a language model|A language model is a program that predicts the next piece of a text.
a token|A token is a small piece of text, such as a word or a part of a word.
a matrix|A matrix is a table of numbers with rows and columns.
a vector|A vector is a list of numbers.
a prime number|A prime number is a whole number greater than one that only one and itself divide.
an even number|An even number is a whole number that two divides.
an odd number|An odd number is a whole number that two does not divide.
a fraction|A fraction is a part of a whole, written as one number over another.
a triangle|A triangle is a shape with three sides.
a square|A square is a shape with four equal sides and four right angles.
a circle|A circle is a round line whose points are all equally far from its center.
a sphere|A sphere is a round body, like a ball.
a cube|A cube is a body with six equal square faces.
an angle|An angle is the figure made by two lines that meet in a point.
a graph|A graph is a set of points with lines between them.
an equation|An equation says that two things are equal.
an atom|An atom is the smallest piece of a chemical element.
a molecule|A molecule is a group of atoms that are bound together.
an element|An element is a substance made of only one kind of atom.
a metal|A metal is a shiny material that conducts heat and electricity well.
a gas|A gas is matter that fills all the space it has.
a liquid|A liquid is matter that flows and takes the shape of its container.
a solid|A solid is matter that keeps its own shape.
energy|Energy is the ability to do work.
a force|A force is a push or a pull.
gravity|Gravity is the force that pulls things toward each other.
electricity|Electricity is the flow of electric charge.
a magnet|A magnet is a piece of metal that attracts iron.
light|Light is energy that our eyes can see.
sound|Sound is a vibration that travels through the air.
heat|Heat is energy that flows from a warm thing to a cold thing.
temperature|Temperature says how hot or cold something is.
speed|Speed says how far something moves in a given time.
a star|A star is a huge ball of hot gas that gives light.
a planet|A planet is a large body that goes around a star.
a moon|A moon is a body that goes around a planet.
the Sun|The Sun is the star at the center of our solar system.
the Moon|The Moon is the body that goes around the Earth.
the Earth|The Earth is the planet on which we live.
a comet|A comet is a body of ice and dust that goes around the Sun.
a galaxy|A galaxy is a huge group of stars.
a telescope|A telescope is an instrument for looking at things that are far away.
a microscope|A microscope is an instrument for looking at very small things.
a thermometer|A thermometer is an instrument that measures temperature.
a clock|A clock is an instrument that shows the time.
a calendar|A calendar is a table of the days and months of a year.
a compass|A compass is an instrument that shows where north is.
a map|A map is a drawing of a part of the world.
a river|A river is a large stream of water that flows to the sea.
a lake|A lake is a large body of water with land all around it.
a sea|A sea is a large body of salt water.
an ocean|An ocean is one of the largest bodies of salt water on the Earth.
an island|An island is a piece of land with water all around it.
a mountain|A mountain is a very high piece of land.
a valley|A valley is low land between hills or mountains.
a volcano|A volcano is a mountain from which hot melted rock can come out.
a desert|A desert is a dry land where little rain falls.
a forest|A forest is a large piece of land covered with trees.
a city|A city is a large place where many people live.
a village|A village is a small place where people live.
a country|A country is a land with its own government.
a capital|A capital is the city where the government of a country sits.
a continent|A continent is one of the large masses of land on the Earth.
a king|A king is a man who rules a country.
a queen|A queen is a woman who rules a country, or the wife of a king.
a law|A law is a rule that everybody in a country must follow.
money|Money is what we use to pay for things.
a market|A market is a place where people buy and sell things.
a school|A school is a place where people learn.
a library|A library is a place where many books are kept.
a museum|A museum is a place where old and beautiful things are shown.
a hospital|A hospital is a place where sick people are helped.
a restaurant|A restaurant is a place where people pay for a meal.
a station|A station is a place where trains or buses stop.
a bridge|A bridge is a way over a river or a road.
a house|A house is a building in which people live.
a door|A door is a part of a wall that can be opened and closed.
a window|A window is an opening in a wall with glass in it.
a chair|A chair is a seat with a back for one person.
a table|A table is a flat board on legs.
a bed|A bed is a piece of furniture for sleeping.
a book|A book is a set of printed pages bound together.
a dictionary|A dictionary is a book that explains words.
a letter|A letter is a sign of the alphabet, or a written message.
a word|A word is the smallest piece of language that has a meaning of its own.
a sentence|A sentence is a group of words that expresses a whole thought.
a noun|A noun is a word for a person, a place, or a thing.
a verb|A verb is a word for an action or a state.
an adjective|An adjective is a word that describes a noun.
a poem|A poem is a text in which sound and rhythm matter.
a story|A story is a tale of things that happened or could happen.
music|Music is sound that people make for beauty and joy.
a song|A song is a piece of music with words.
a piano|A piano is a large instrument with black and white keys.
a guitar|A guitar is an instrument with six strings.
a drum|A drum is an instrument that one beats.
art|Art is what people make to express something beautiful or true.
a plant|A plant is a living thing that grows in the ground and makes its food from light.
a tree|A tree is a tall plant with a trunk of wood.
a flower|A flower is the part of a plant that makes seeds.
a fruit|A fruit is the part of a plant that holds the seeds.
a seed|A seed is the small thing from which a plant grows.
an animal|An animal is a living thing that moves and eats.
a mammal|A mammal is an animal that feeds its young with milk.
a bird|A bird is an animal with feathers and wings.
a fish|A fish is an animal that lives in water and breathes through gills.
an insect|An insect is a small animal with six legs.
a reptile|A reptile is a cold animal with scales, such as a snake.
a whale|A whale is a very large mammal that lives in the sea.
a bat|A bat is a mammal that can fly.
a cat|A cat is a small animal that people keep as a pet and that catches mice.
a dog|A dog is an animal that people keep as a friend and a guard.
a horse|A horse is a large animal that people ride.
a cow|A cow is a large animal that gives milk.
the heart|The heart is the organ that pumps blood through the body.
the brain|The brain is the organ with which we think.
a bone|A bone is a hard part inside the body.
blood|Blood is the red liquid that flows through the body.
a doctor|A doctor is a person who helps sick people.
a teacher|A teacher is a person who helps others learn.
a friend|A friend is a person whom we know well and like.
a family|A family is a group of people who belong together.
rain|Rain is water that falls from the clouds.
snow|Snow is frozen water that falls from the clouds in white flakes.
wind|Wind is air that moves.
a cloud|A cloud is a mass of small drops of water in the air.
a storm|A storm is bad weather with strong wind and rain.
a rainbow|A rainbow is a band of colors in the sky when the sun shines on rain.
thunder|Thunder is the loud sound that follows lightning.
bread|Bread is a food made from flour, water, salt, and yeast.
cheese|Cheese is a food made from milk.
honey|Honey is a sweet food that bees make.
sugar|Sugar is a sweet substance that comes from plants.
salt|Salt is a white substance that makes food taste stronger.
tea|Tea is a drink made from leaves and hot water.
coffee|Coffee is a drink made from roasted beans and hot water.
a car|A car is a vehicle with four wheels and an engine.
a bicycle|A bicycle is a vehicle with two wheels that one moves with the feet.
a train|A train is a row of cars that run on rails.
a ship|A ship is a large boat.
an airplane|An airplane is a machine with wings that flies.
an engine|An engine is a machine that turns energy into motion.
a wheel|A wheel is a round thing that turns and lets other things roll.
peace|Peace is a time without war.
time|Time is what clocks measure.
history|History is the story of what people have done.
science|Science is the search for knowledge by looking and testing.
mathematics|Mathematics is the study of numbers, shapes, and structures.
physics|Physics is the study of matter, energy, and forces.
chemistry|Chemistry is the study of substances and how they change.
biology|Biology is the study of living things.
geography|Geography is the study of the Earth and its places.
Python|Python is a programming language that is easy to read.
C|C is a programming language that is close to the machine.
Linux|Linux is the kernel of a free operating system.
Debian|Debian is a free operating system made by volunteers.
Git|Git is a program that keeps the history of files.
the internet|The internet is a network that connects computers all over the world.
the World Wide Web|The World Wide Web is a system of linked pages on the internet.
a dragon|A dragon is a large animal in old tales that can fly and breathe fire.
a fairy tale|A fairy tale is an old story with magic in it."""

# question | answer
EXPLANATIONS = """Why is the sky blue?|The light of the sun contains all colors. When it passes through the air, blue light is scattered more than red light. So blue light comes to our eyes from all sides, and the sky looks blue.
Why do we have seasons?|The Earth is tilted. When our half leans toward the Sun, the days are long and it is summer. When it leans away, the days are short and it is winter.
Why is there day and night?|The Earth turns around itself once a day. The side that faces the Sun has day. The other side has night.
Why does it rain?|The sun warms the water of seas and lakes, and some of it rises into the air as vapor. High above the ground the vapor cools and forms clouds. When the drops in the clouds are heavy enough, they fall as rain.
Why does ice float?|When water freezes, it takes up more space. So ice is lighter than the same amount of water, and it floats.
Why do leaves fall in autumn?|In autumn there is less light, and a tree would lose too much water through its leaves. The tree takes back what is useful and lets the leaves fall. In spring it grows new ones.
Why do leaves turn yellow?|Leaves are green because of a green substance that catches light. In autumn the tree takes this substance back. Then the yellow and red colors that were hidden can be seen.
Why do birds fly south in winter?|In winter there is little food in the north. Many birds fly south, where it is warm and food is easy to find. In spring they come back.
Why do we sleep?|The body and the brain need rest. While we sleep, the body repairs itself and the brain sorts what it has learned. Without sleep we become tired and weak.
Why do we eat?|Food gives us energy and the material from which our body is made. Without food we could not move, think, or grow.
Why do we breathe?|Our body needs oxygen to turn food into energy. With each breath we take in oxygen and let out carbon dioxide.
Why do cats purr?|Cats often purr when they are content. They also purr to calm themselves when they are hurt or afraid.
Why do dogs bark?|Dogs bark to warn others, to call for attention, or because they are excited. It is one of the ways in which they speak.
Why is the sea salty?|Rivers carry small amounts of salt from the rocks to the sea. The water goes back into the air, but the salt stays. So over a very long time the sea became salty.
Why does the Moon change its shape?|The Moon has no light of its own. We see only the part that the Sun lights up. As the Moon goes around the Earth, we see more or less of that part.
Why do things fall down?|The Earth pulls everything toward its center. This pull is called gravity. So things fall down when nothing holds them.
Why do we see lightning before thunder?|Light is much faster than sound. Both start at the same time, but the light reaches us almost at once. The sound needs about three seconds for each kilometer.
Why are plants green?|Plants contain a green substance called chlorophyll. It catches the light of the sun, and the plant makes sugar with it.
How do plants grow?|A plant takes water from the ground with its roots and light from the sun with its leaves. From water, air, and light it makes sugar. With this sugar it grows.
How does a seed grow?|A seed needs water, air, and warmth. First a small root grows down into the ground. Then a stem grows up toward the light, and the first leaves open.
How do airplanes fly?|The engines push the airplane forward. The air flows around the wings and lifts them. When the lift is greater than the weight, the airplane rises.
How do boats float?|A boat pushes water aside. The water pushes back and lifts the boat. As long as the boat is lighter than the water it pushes aside, it floats.
How do bees make honey?|Bees collect a sweet juice from flowers. In the hive they pass it from bee to bee until it becomes thick. Then they keep it in small cells of wax.
How is bread made?|Flour, water, salt, and yeast are mixed to a dough. The dough rests in a warm place until it rises. Then it is baked in a hot oven.
How is cheese made?|Milk is made sour until it becomes thick. The solid part is taken out, pressed, and salted. Then it rests for weeks or months.
How is paper made?|Wood is cut into small pieces and cooked until it becomes soft. The wet mass is spread out in a thin layer. Then it is pressed and dried.
How is glass made?|Sand is melted with other substances in a very hot fire. The melted mass is shaped and then cooled. When it is cold, it is hard and clear.
How do I make tea?|Boil some water. Put the tea leaves into a cup and pour the hot water over them. Wait three minutes, and the tea is ready.
How do I make pancakes?|Mix two eggs, a cup of milk, and a cup of flour. Put a little butter into a hot pan and pour in some of the mixture. Bake each side until it is brown.
How do I make a salad?|Wash the leaves and cut some tomatoes and a cucumber. Mix everything in a bowl. Add oil, a little vinegar, and salt.
How do I boil an egg?|Put the egg into boiling water. Wait five minutes for a soft egg or ten minutes for a hard one. Then cool it with cold water.
How do I learn a language?|Learn a few words every day and use them. Read simple books, listen to songs, and speak with people. Do not be afraid of mistakes.
How do I sleep better?|Go to bed at the same time every day. Keep the room dark and cool, and put the phone away. A short walk in the evening helps too.
How do I write a good letter?|Think first about what you want to say. Use short and clear sentences. Read the letter once more before you send it.
How do I find a bug?|First find a small example that shows the bug. Then look at what the program does, step by step. When you know the cause, fix it and write a test.
How do I stay healthy?|Eat good food, move every day, and sleep enough. Drink water, spend time with friends, and rest when you are tired.
How do I save money?|Write down what you spend. Buy only what you need, and put a little money aside every month.
How do magnets work?|In a magnet many tiny parts all point in the same direction. Together they make a field that attracts iron. Two magnets attract or push each other.
How does a lamp work?|Electricity flows through the lamp and makes a part of it give light. When the switch is off, the flow stops and the lamp is dark.
How does a telescope work?|A telescope collects light with a large lens or mirror. It bends the light so that distant things look larger and brighter.
How does a clock work?|A clock counts something that repeats very regularly, such as the swing of a pendulum. Its hands move a little with each swing and show the time.
How does a refrigerator work?|A refrigerator moves heat from the inside to the outside. A liquid takes up heat inside, becomes a gas, and gives the heat away at the back.
How does the internet work?|Computers are connected by cables and radio. Messages are cut into small packets, and each packet finds its way from machine to machine. At the end the packets are put together again.
How does a computer work?|A computer reads instructions from its memory and follows them one after another. Each instruction does something very simple, such as adding two numbers. It does billions of them in a second.
How does a compiler work?|A compiler reads the source code and checks its grammar. Then it builds a tree of the program and makes it simpler and faster. At the end it writes machine code.
How does a language model work?|A language model reads a text as a row of tokens. For each possible next token it computes how likely it is. Then one token is chosen, and the work begins again.
How does a neural network learn?|It makes a guess and compares it with the right answer. Then all its numbers are changed a little so that the next guess is better. This is repeated many times.
How does the heart work?|The heart is a strong muscle. It draws blood in and pushes it out again, about seventy times a minute. So the blood reaches all parts of the body.
How do fish breathe?|Fish take water in through the mouth and let it flow over their gills. The gills take the oxygen out of the water.
How do birds fly?|Birds push the air down with their wings and so lift themselves up. Their bones are light, and their feathers guide the air.
How do volcanoes form?|Deep in the Earth the rock is hot and melted. Where it finds a way up, it breaks through the ground. When it cools, it builds a mountain.
How do rainbows form?|When the sun shines on drops of rain, the light is bent and split into its colors. We see the colors as a band in the sky when the sun is behind us.
How do mountains form?|The crust of the Earth is made of large plates that move slowly. Where two plates push against each other, the land folds and rises. So mountains grow over millions of years.
How old is the Earth?|The Earth is about four and a half billion years old. We know this from the age of the oldest rocks and of stones that fell from the sky.
How far is the Moon?|The Moon is about 384,000 kilometers away from the Earth. A car would need about half a year to drive so far.
How far is the Sun?|The Sun is about 150 million kilometers away from the Earth. Its light needs about eight minutes to reach us.
What is photosynthesis?|Photosynthesis is how plants make food. With the light of the sun they turn water and carbon dioxide into sugar. On the way they give off oxygen.
What is the water cycle?|Water rises from the sea as vapor and forms clouds. It falls as rain or snow and flows back to the sea in rivers. Then the cycle begins again.
What is evolution?|Living things change over many generations. Those that fit their world better have more young. So over a long time new kinds appear.
What is democracy?|In a democracy the people choose their government. Everybody has one vote, and everybody may speak freely.
What is the difference between a frog and a toad?|A frog has smooth, wet skin and long legs for jumping. A toad has dry, rough skin and walks more than it jumps.
What is the difference between weather and climate?|Weather is what happens in the air today. Climate is what the weather is like over many years.
What is the difference between a list and a tuple?|In Python a list can be changed after it is made. A tuple cannot be changed. Both keep their values in order.
What is the difference between a CPU and a GPU?|A CPU has a few fast cores that do many different things. A GPU has thousands of simple cores that do the same thing to many numbers at once.
What is the difference between a compiler and an interpreter?|A compiler translates the whole program before it runs. An interpreter reads the program and runs it at the same time.
What is the difference between a stack and a queue?|In a stack the last thing put in comes out first. In a queue the first thing put in comes out first.
Why should I write tests?|Tests show whether the program does what it should. When you change something, they tell you at once if it broke. So you can change code without fear.
Why should I use version control?|Version control keeps the history of your work. You can see who changed what and why, and you can go back to an older state.
Why is the program slow?|Measure first where the time goes. Often most of it is spent in one small loop. Make that part faster, and measure again.
Why are comments useful?|Good comments say why the code is as it is. The code itself says what it does. Both help the next reader.
Why do people read books?|Books tell stories, teach us new things, and let us see the world with other eyes. A good book can be a good friend.
Why do people sing?|People sing because they are happy or sad, to pray, to work, or to be together. A song says what plain words cannot.
Why is water important?|All living things need water. It carries food through the body, keeps it cool, and takes away what is not needed. Without water there would be no life.
Why are trees important?|Trees give us oxygen, wood, fruit, and shade. They hold the ground together and are a home for many animals.
Why are bees important?|Bees carry pollen from flower to flower. Without them many plants would have no fruit. So bees help to feed us all.
Why is friendship important?|A friend listens when we are sad and laughs with us when we are happy. With friends, hard times are easier and good times are better.
Why is sleep important?|Sleep gives the body time to rest and the brain time to sort what it has learned. Who sleeps well is healthier and thinks more clearly."""

YES = """Is water wet?|Yes, water is wet.
Is the sky blue?|Yes, the sky is blue.
Is fire hot?|Yes, fire is hot.
Is ice cold?|Yes, ice is cold.
Is the Earth round?|Yes, the Earth is round.
Is the Sun a star?|Yes, the Sun is a star.
Is the Sun a planet?|No, the Sun is a star.
Is the Moon a star?|No, the Moon is not a star.
Is a whale a fish?|No, a whale is a mammal.
Is a bat a bird?|No, a bat is a mammal.
Is a spider an insect?|No, a spider has eight legs and is not an insect.
Is a tomato a fruit?|Yes, a tomato is a fruit.
Is Paris in France?|Yes, Paris is in France.
Is Rome in Spain?|No, Rome is in Italy.
Is London in England?|Yes, London is in England.
Is Berlin in Italy?|No, Berlin is in Germany.
Is Africa a country?|No, Africa is a continent.
Is Python a programming language?|Yes, Python is a programming language.
Is C a programming language?|Yes, C is a programming language.
Is Linux free?|Yes, Linux is free software.
Is 7 a prime number?|Yes, 7 is a prime number.
Is 9 a prime number?|No, 9 is not a prime number.
Is 2 a prime number?|Yes, 2 is a prime number.
Is 4 a prime number?|No, 4 is not a prime number.
Is 4 an even number?|Yes, 4 is an even number.
Is 5 an even number?|No, 5 is an odd number.
Is 10 greater than 5?|Yes, 10 is greater than 5.
Is 3 greater than 8?|No, 3 is less than 8.
Can birds fly?|Yes, most birds can fly.
Can penguins fly?|No, penguins cannot fly.
Can fish swim?|Yes, fish can swim.
Can dogs talk?|No, dogs cannot talk.
Can cats climb trees?|Yes, cats can climb trees.
Can pigs fly?|No, pigs cannot fly.
Can a snake walk?|No, a snake has no legs.
Do cows eat grass?|Yes, cows eat grass.
Do cats bark?|No, cats meow.
Do plants need water?|Yes, plants need water.
Do plants need light?|Yes, plants need light.
Do spiders have six legs?|No, spiders have eight legs.
Does wood float on water?|Yes, most wood floats on water.
Does a stone float on water?|No, a stone sinks.
Does the Earth go around the Sun?|Yes, the Earth goes around the Sun.
Does the Sun go around the Earth?|No, the Earth goes around the Sun.
Is snow black?|No, snow is white.
Is grass green?|Yes, grass is green.
Is sugar sour?|No, sugar is sweet.
Is a lemon sweet?|No, a lemon is sour.
Is gold a metal?|Yes, gold is a metal.
Is wood a metal?|No, wood is not a metal.
Is glass made from sand?|Yes, glass is made from sand.
Is light faster than sound?|Yes, light is faster than sound.
Is an elephant bigger than a mouse?|Yes, an elephant is bigger than a mouse.
Is a snail faster than a horse?|No, a horse is faster than a snail.
Is Monday before Tuesday?|Yes, Monday comes before Tuesday.
Is July in winter?|In the north, July is in summer."""


def fill(book, rng):
    """Adds the definitions, explanations and yes/no questions."""
    for line in DEFINITIONS.split("\n"):
        thing, answer = line.split("|")
        qs = ["What is %s?" % thing, "Define %s." % thing, "What is %s" % thing, "Explain what %s is." % thing]
        qs = [q for q in qs if book.answer.get(q, answer) == answer]
        book.add("definition", qs, answer, 12)
    for line in EXPLANATIONS.split("\n"):
        q, answer = line.split("|")
        bare = q[0].lower() + q[1:]
        qs = [q, q[:-1], "Can you tell me %s" % bare if not bare.startswith(("how do i", "what is")) else q]
        if bare.startswith("what is the difference"):
            qs.append("Explain the" + q[11:-1] + ".")
        book.add("explanation", [x for x in qs if x not in book.answer], answer, 12)
    for line in YES.split("\n"):
        q, answer = line.split("|")
        book.add("yesno", [q, q[:-1]], answer, 14)
