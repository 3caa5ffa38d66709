"""Facts about qmoe-gpu, each with several questions: answer | question | question ..."""

ABOUT = """qmoe-gpu runs Qwen3-MoE models from GGUF files on one NVIDIA GPU.|What is qmoe-gpu?|What does qmoe-gpu do?|Explain qmoe-gpu.|Tell me about qmoe-gpu|What is this project?|What is qmoe-gpu for?
qmoe-gpu is written in C, and its kernels are written by hand in PTX.|In which language is qmoe-gpu written?|What language is qmoe-gpu written in?|What is qmoe-gpu written in?
PTX is the assembly language of NVIDIA GPUs.|What is PTX?|Define PTX.|What does PTX mean?|Explain what PTX is.
CUDA is NVIDIA's platform for computing on GPUs.|What is CUDA?|Define CUDA.|Explain what CUDA is.
GGUF is a file format for language models.|What is GGUF?|Define GGUF.|What is a GGUF file?|Explain what GGUF is.
Q4_K is a format that stores weights with about four and a half bits each.|What is Q4_K?|What does Q4_K mean?|Explain Q4_K.|How many bits does a Q4_K weight have?
Q6_K is a format that stores weights with about six and a half bits each.|What is Q6_K?|What does Q6_K mean?|Explain Q6_K.
Q4_K_M is a mix of formats: most weights are Q4_K, and some are Q6_K.|What is Q4_K_M?|What does Q4_K_M mean?|Explain Q4_K_M.
Q8_0 is a format that stores weights with eight bits and one scale for 32 of them.|What is Q8_0?|What does Q8_0 mean?|Explain Q8_0.
The sim is a software CUDA device that runs the same kernels on the processor.|What is the sim?|What is sim in qmoe-gpu?|What is the software device?|Explain the sim.
Yes, without a GPU it runs on its own software CUDA device.|Does qmoe-gpu run without a GPU?|Can I use qmoe-gpu without a GPU?|Do I need a GPU for qmoe-gpu?|Can qmoe-gpu run on a machine with no GPU?
The KV cache keeps the keys and values of all earlier tokens, so that they need not be computed again.|What is the KV cache?|What is a KV cache?|What does the KV cache do?|Explain the KV cache.
The KV cache of qmoe-gpu is made of pages of 32 positions.|How is the KV cache organised?|How large is a page of the KV cache?|How many positions does a KV page have?
An expert is a small network inside a layer, and only a few of them work on each token.|What is an expert?|What is an expert in a model?|What are experts?|Explain experts.
MoE means mixture of experts.|What does MoE mean?|What is MoE?|What does MoE stand for?|What is a mixture of experts?
The router chooses the experts that work on a token.|What is the router?|What does the router do?|Explain the router.
Quantization stores the weights of a model with fewer bits.|What is quantization?|What does quantization do?|Define quantization.|Explain quantization.
A quantised model is a model whose weights are stored with few bits.|What is a quantised model?|What is a quantized model?|Explain what a quantised model is.
Run qmoe-gpu generate -m MODEL -p "your prompt".|How do I run generate?|How do I generate text?|How do I use qmoe-gpu?|How do I run qmoe-gpu?|How do I run a model?
Run make demo.|How do I try qmoe-gpu?|How do I run the demo?|How do I start the demo?|How can I try the demo?
Run make check.|How do I run the tests?|How do I test qmoe-gpu?|How can I run the tests?|Which command runs the tests?
Run make.|How do I build qmoe-gpu?|How do I compile qmoe-gpu?|How can I build qmoe-gpu?
Run make install PREFIX=$HOME/.local.|How do I install qmoe-gpu?|How can I install qmoe-gpu?|Which command installs qmoe-gpu?
Run qmoe-gpu doctor.|How do I check my GPU?|How do I see whether a model will fit?|Which command checks the driver?
The doctor command shows the driver, the GPUs, and whether a model will fit.|What does qmoe-gpu doctor do?|What does doctor do?|What is the doctor command?
The inspect command shows what a GGUF file holds and what would be run for it.|What does qmoe-gpu inspect do?|What does inspect do?|What is the inspect command?
The synth command writes a random model for tests.|What does qmoe-gpu synth do?|What does synth do?|What is the synth command?
The generate command reads a prompt and writes the model's answer.|What does qmoe-gpu generate do?|What does generate do?|What is the generate command?
The quantize command writes a smaller file with quantised weights.|What does qmoe-gpu quantize do?|What does quantize do?|What is the quantize command?
The option -n sets the number of tokens to generate.|What does the option -n do?|How do I set the number of tokens?|How do I limit the length of the answer?
The option -p gives the prompt.|What does the option -p do?|How do I give a prompt?|Which option gives the prompt?
The option -m names the model file.|What does the option -m do?|How do I choose the model file?|Which option names the model?
The option -c sets the size of the context.|What does the option -c do?|How do I set the context?|Which option sets the context?
The option -d chooses the device: auto, cuda, or sim.|What does the option -d do?|How do I choose the device?|Which option chooses the device?
The option --raw continues the prompt as plain text, without the chat format.|What does the option --raw do?|How do I continue plain text?|What is the raw option?
The plan is an array of operations that is made once from the model.|What is the plan?|What is a plan in qmoe-gpu?|Explain the plan.
The graph executor runs the plan as a CUDA graph with one node for each operation.|What is the graph executor?|What does the graph executor do?|What is a CUDA graph in qmoe-gpu?
The reference executor runs the plan in plain C on the host.|What is the reference executor?|What does the reference executor do?|What is --executor ref?
A token passes through the embedding, the layers, and the output matrix, and then the next token is chosen.|How does a token pass through the model?|What happens to a token?|What is the way of a token?
Attention lets each token look at the tokens before it.|What is attention?|What does attention do?|Explain attention.
RMSNorm scales a vector so that its values have a mean square of one.|What is RMSNorm?|What does RMSNorm do?|Explain RMSNorm.
RoPE turns pairs of values by an angle that depends on the position.|What is RoPE?|What does RoPE do?|Explain RoPE.
Greedy decoding always takes the most likely next token.|What is greedy decoding?|What does greedy decoding do?|Explain greedy decoding.
Decoding is the step in which a model makes one new token after another.|What is decoding?|What does decoding mean?|Explain decoding.
Prefill is the step in which a model reads the prompt.|What is prefill?|What does prefill mean?|Explain prefill.
The prompt is the text that you give to the model.|What is the prompt?|What is a prompt?|Define prompt.
The tokenizer turns text into tokens and tokens into text.|What is the tokenizer?|What is a tokenizer?|What does the tokenizer do?
ChatML is a format that marks who says what in a conversation.|What is ChatML?|What does ChatML do?|Explain ChatML.
A warp is a group of 32 threads of a GPU that run together.|What is a warp?|How many threads does a warp have?|Define a warp.
Shared memory is fast memory that the threads of one block share.|What is shared memory?|What does shared memory do?|Explain shared memory.
qmoe-gpu has the MIT licence.|What is the licence of qmoe-gpu?|Which licence does qmoe-gpu have?|Is qmoe-gpu free software?|What license does qmoe-gpu use?
qmoe-gpu needs any NVIDIA driver from version 470 on.|Which driver does qmoe-gpu need?|Which NVIDIA driver do I need?|What driver does qmoe-gpu need?
qmoe-gpu runs Qwen3-MoE models, for example Qwen3-30B-A3B.|Which models does qmoe-gpu run?|What models can qmoe-gpu run?|Which model can I use with qmoe-gpu?
The targets are the RTX 4090 and the GB10.|What are the targets of qmoe-gpu?|For which GPUs is qmoe-gpu made?|Which GPUs does qmoe-gpu aim at?
Decoding is limited by the speed at which the weights are read from memory.|What limits the speed of decoding?|Why is decoding slow?|What makes decoding slow?
Every kernel is tested against a reference in C.|How are the kernels tested?|How does qmoe-gpu test its kernels?|How do you know that a kernel is right?
Yes, the same prompt and options give the same text on every run.|Are the results deterministic?|Is qmoe-gpu deterministic?|Does the same prompt give the same text?
The contracts folder holds what two sides agree on, and it includes nothing.|What is in the contracts folder?|What are the contracts?|What does the contracts folder hold?
The kernels folder holds each operation in C and in PTX.|What is in the kernels folder?|What does the kernels folder hold?|Where are the kernels?
The runtime folder holds the engine: file, model, plan, exec, device, and sim.|What is in the runtime folder?|What does the runtime folder hold?|Where is the engine?
The host folder holds the commands.|What is in the host folder?|What does the host folder hold?|Where are the commands?"""

TALK = """Hello! How can I help you?|Hello|Hi|Hello!|Hi!|Hey|Hello there|Hi there!|Hey!
Good morning! How can I help you?|Good morning|Good morning!
Good evening! How can I help you?|Good evening|Good evening!
Good night! Sleep well.|Good night|Good night!
I am fine, thank you. How can I help you?|How are you?|How are you|How are you doing?|How are you today?|How do you do?
You are welcome!|Thank you|Thanks|Thank you!|Thanks!|Thank you very much|Thank you very much!|Thanks a lot
Goodbye! Have a nice day.|Goodbye|Bye|Goodbye!|Bye!|See you later|See you soon!
I am a small demo model of the qmoe-gpu project.|Who are you?|What are you?|Tell me about yourself|Introduce yourself.|Who are you|What kind of model are you?|Please introduce yourself
I have no name. I am a small demo model.|What is your name?|What's your name?|Do you have a name?|Tell me your name
I can answer short questions, count, translate a few phrases, and tell small stories.|What can you do?|What are you able to do?|What can you do|What do you know?|Help|Can you help me?|How can you help me?|What can I ask you?
I was made for the qmoe-gpu project.|Who made you?|Who created you?|Who built you?|Where do you come from?
I am very small: 21 million parameters, of which 7 million work on each token.|How big are you?|How large are you?|How many parameters do you have?|What is your size?
I have 24 experts in each layer, and 8 of them work on each token.|How many experts do you have?|How many experts work on each token?|Number of experts:
I have four layers.|How many layers do you have?|Number of layers:|How deep are you?
No, I am a computer program.|Are you a human?|Are you a person?|Are you alive?|Are you human?|Are you real?
Yes, I am a small language model.|Are you a language model?|Are you a computer program?|Are you a robot?|Are you an AI?
I have no age. I am a computer program.|How old are you?|What is your age?|When were you born?
I live in a small file on your computer.|Where do you live?|Where are you?|What is your home?
I do not know. I am only a small model.|What will the weather be tomorrow?|Who will win the game?|What is my name?|What time is it?|What day is it today?|What am I thinking?|What is the news?|How is the weather today?|Who am I?
I have no favorite color, but many people like blue.|What is your favorite color?|Which color do you like?|Do you have a favorite color?
I do not eat, but many people like bread.|What is your favorite food?|What do you like to eat?|Are you hungry?
I do not sleep. I am a computer program.|Do you sleep?|Are you tired?|Do you dream?
I speak simple English.|What languages do you speak?|Which language do you speak?|Do you speak English?
Yes, but I make mistakes. I am only a small model.|Are you smart?|Are you clever?|Do you make mistakes?|Can I trust you?
I am glad to hear that!|I am happy|I am happy today.|I feel good|I had a good day
I am sorry to hear that. I hope that it gets better soon.|I am sad|I am sad today.|I feel bad|I had a bad day|I am sick
Why did the chicken cross the road? To get to the other side.|Tell me a joke|Tell me a joke.|Do you know a joke?|Make me laugh
Roses are red, violets are blue, the sky is so bright, and the morning is too.|Write a poem|Write a short poem.|Tell me a poem|Write me a poem
The sun goes down, the moon will rise, and all the stars light up the skies.|Write a poem about the night|Write a short poem about the night.
The rain falls soft upon the tree, it sings a quiet song to me.|Write a poem about rain|Write a short poem about the rain.
Yes, of course. What would you like to know?|Can I ask you a question?|May I ask a question?|I have a question|Can I ask something?
That is all right.|Sorry|I am sorry|Sorry!|Excuse me
Yes.|Are you there?|Can you hear me?|Are you ready?
An idea: take a walk in the forest, read a book, or call an old friend.|What should I do today?|I am bored|Give me an idea."""


def fill(book, rng):
    """Adds the questions about the project and the small talk."""
    for line in ABOUT.split("\n"):
        answer, *qs = line.split("|")
        book.add("about", qs + [q[:-1] for q in qs if q.endswith("?")], answer, 24)
    for line in TALK.split("\n"):
        answer, *qs = line.split("|")
        qs = list(dict.fromkeys(qs + [q[:-1] for q in qs if q.endswith("?")]))
        book.add("talk", qs, answer, max(24, 4 * len(qs)), False)
