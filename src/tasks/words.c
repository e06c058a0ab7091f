/* SPDX-License-Identifier: MIT
 *
 * words.c — common English words for keys (adjective-noun) and for the lists of cwe: no word twice.
 */
#include "tasks/draft.h"

/* clang-format off */
static const char *const adjective[] = {
    "able", "agile", "amber", "ample", "ancient", "azure", "bald", "bare", "bitter", "blank",
    "bleak", "blond", "blunt", "bold", "brave", "brief", "bright", "brisk", "broad", "bronze",
    "bulky", "busy", "calm", "candid", "careful", "cheap", "cheerful", "chilly", "clean", "clear",
    "clever", "cloudy", "clumsy", "coarse", "cold", "cool", "cosy", "crisp", "crooked", "cruel",
    "curious", "curly", "damp", "daring", "dark", "dear", "decent", "deep", "dense", "dim",
    "distant", "double", "drowsy", "dry", "dull", "dusty", "eager", "early", "easy", "elder",
    "elegant", "empty", "equal", "faint", "fair", "faithful", "famous", "fancy", "fast", "feeble",
    "fertile", "fierce", "fine", "firm", "flat", "fluent", "fond", "foolish", "formal", "fragile",
    "frank", "free", "fresh", "friendly", "frosty", "frugal", "full", "funny", "gentle", "giant",
    "glad", "gloomy", "golden", "good", "graceful", "grand", "grateful", "gray", "greedy", "green",
    "grim", "guilty", "handy", "happy", "hard", "harsh", "hasty", "heavy", "helpful", "hidden",
    "hollow", "honest", "huge", "humble", "hungry", "icy", "ideal", "idle", "immense", "jolly",
    "joyful", "juicy", "keen", "kind", "lame", "large", "lasting", "late", "lazy", "lean", "level",
    "light", "lively", "local", "lonely", "long", "loose", "loud", "loyal", "lucky", "major",
    "mature", "meek", "mellow", "merry", "mighty", "mild", "minor", "misty", "modern", "modest",
    "moist", "muddy", "mute", "naive", "narrow", "native", "neat", "nervous", "new", "nimble",
    "noble", "noisy", "normal", "novel", "numb", "obvious", "odd", "old", "open", "orderly",
    "painful", "pale", "patient", "peaceful", "plain", "playful", "pleasant", "plump", "polite",
    "poor", "precious", "pretty", "prime", "prompt", "proper", "proud", "public", "pure", "purple",
    "quaint", "quick", "quiet", "rapid", "rare", "raw", "ready", "real", "red", "regal", "regular",
    "remote", "rich", "rigid", "ripe", "robust", "rosy", "rough", "round", "royal", "rude", "rural",
    "rusty", "sacred", "sad", "safe", "salty", "scarce", "secret", "serene", "severe", "shallow",
    "sharp", "shiny", "short", "shy", "silent", "silly", "silver", "simple", "sincere", "single",
    "sleepy", "slender", "slim", "slow", "small", "smart", "smooth", "sober", "soft", "solemn",
    "solid", "sour", "spare", "sparse", "speedy", "spicy", "splendid", "stale", "stark", "steady",
    "steep", "stern", "sticky", "stiff", "still", "stout", "strange", "strict", "strong",
    "stubborn", "sturdy", "subtle", "sudden", "sunny", "sweet", "swift", "tall", "tame", "tart",
    "tasty", "tender", "tense", "thick", "thin", "thirsty", "tidy", "tight", "timid", "tiny",
    "tired", "tough", "tranquil", "true", "trusty", "ugly", "unique", "upper", "urban", "urgent",
    "useful", "usual", "vague", "vain", "valid", "vast", "violet", "vital", "vivid", "warm", "wary",
    "weak", "wealthy", "weary", "weird", "wet", "whole", "wicked", "wide", "wild", "willing",
    "wise", "witty", "wooden", "worldly", "worthy", "yellow", "young", "zany",
};

static const char *const noun[] = {
    "acorn", "actor", "airport", "alley", "almond", "anchor", "animal", "ankle", "answer", "antler",
    "apple", "apron", "arch", "arena", "armor", "arrow", "artist", "atlas", "attic", "aunt",
    "author", "autumn", "avenue", "badge", "bakery", "balcony", "ballad", "balloon", "bamboo",
    "banana", "bandage", "banjo", "banner", "barber", "barley", "barn", "barrel", "basin", "basket",
    "bath", "battery", "beach", "beacon", "bead", "beak", "beam", "bean", "bear", "beard", "beaver",
    "bell", "belt", "bench", "berry", "bicycle", "bird", "biscuit", "blanket", "blossom", "boat",
    "bone", "bonnet", "book", "boot", "border", "bottle", "boulder", "bow", "bowl", "box", "branch",
    "brass", "bread", "breeze", "brick", "bridge", "broom", "brother", "brush", "bubble", "bucket",
    "buckle", "bud", "bugle", "builder", "bullet", "bunch", "burrow", "bus", "bush", "butter",
    "button", "cabbage", "cabin", "cable", "cactus", "cake", "calendar", "camel", "camera", "camp",
    "canal", "candle", "canoe", "canvas", "canyon", "cap", "captain", "caravan", "card", "cargo",
    "carpet", "carrot", "cart", "castle", "cat", "cattle", "cave", "cedar", "ceiling", "cellar",
    "cello", "cement", "chain", "chair", "chalk", "channel", "chapel", "chapter", "cherry", "chess",
    "chest", "chicken", "chimney", "chin", "chorus", "church", "cider", "circle", "circus",
    "citizen", "city", "cliff", "clinic", "cloak", "clock", "cloth", "cloud", "clover", "coach",
    "coal", "coast", "coat", "cobra", "coconut", "coffee", "coin", "collar", "college", "colony",
    "column", "comb", "comet", "compass", "concert", "copper", "coral", "corn", "corner", "cottage",
    "cotton", "cough", "council", "cousin", "cow", "crab", "cradle", "crane", "crater", "crayon",
    "cream", "creek", "crew", "cricket", "crocus", "crown", "crystal", "cup", "cupboard", "curtain",
    "cushion", "cyclone", "daisy", "dancer", "dawn", "deer", "dentist", "desert", "desk", "diamond",
    "diary", "dictionary", "dinner", "dish", "doctor", "dog", "doll", "dolphin", "donkey", "door",
    "dove", "dragon", "drawer", "dream", "dress", "drum", "duck", "dune", "dust", "eagle", "ear",
    "earth", "easel", "echo", "edge", "eel", "egg", "elbow", "elephant", "elevator", "elm",
    "emerald", "engine", "envelope", "evening", "expert", "eye", "fabric", "factory", "falcon",
    "family", "farm", "farmer", "feast", "feather", "fence", "fern", "ferry", "festival", "fiddle",
    "field", "fig", "finch", "finger", "fire", "fish", "flag", "flame", "flask", "flea", "fleet",
    "flock", "floor", "flour", "flower", "flute", "foam", "fog", "food", "forest", "fork", "fort",
    "fossil", "fountain", "fox", "frame", "friend", "frog", "fruit", "funnel", "fur", "furnace",
    "galaxy", "gallery", "garage", "garden", "garlic", "garment", "gate", "gazelle", "geese",
    "general", "ghost", "giraffe", "glacier", "glass", "glove", "goat", "goblet", "goose", "gorge",
    "gown", "grain", "grandfather", "grape", "grass", "gravel", "guest", "guide", "guitar", "gull",
    "hail", "hair", "hall", "hammer", "hand", "harbor", "harp", "hat", "hawk", "hay", "head",
    "heart", "hedge", "heel", "helmet", "hen", "herb", "heron", "hill", "hinge", "hive", "hobby",
    "honey", "hood", "hook", "horn", "horse", "hospital", "hotel", "hour", "house", "hunter",
    "husband", "hut", "insect", "iris", "iron", "island", "ivory", "ivy", "jacket", "jaguar", "jar",
    "jasmine", "jaw", "jelly", "jewel", "journal", "journey", "judge", "juice", "jungle", "kettle",
    "key", "king", "kitchen", "kite", "kitten", "knee", "knife", "knight", "knot", "label", "lace",
    "ladder", "lady", "lagoon", "lake", "lamb", "lamp", "lantern", "lark", "laundry", "lawn",
    "lawyer", "leaf", "leather", "lemon", "leopard", "letter", "lettuce", "library", "lid",
    "lightning", "lilac", "lily", "limb", "lime", "lion", "lip", "lizard", "llama", "lobster",
    "lock", "lodge", "log", "loom", "lynx", "machine", "magnet", "maid", "mango", "mantle", "map",
    "maple", "marble", "market", "marsh", "mask", "mast", "mat", "meadow", "meal", "medal", "melon",
    "member", "mercury", "metal", "meteor", "mill", "mint", "mirror", "mist", "mole", "monkey",
    "moon", "moss", "moth", "mother", "motor", "mountain", "mouse", "mouth", "mud", "mule",
    "muscle", "museum", "mushroom", "music", "mustard", "nail", "napkin", "neck", "necklace",
    "needle", "neighbor", "nest", "net", "nickel", "niece", "night", "noodle", "nose", "notebook",
    "nurse", "nut", "oak", "oar", "oasis", "oat", "ocean", "office", "oil", "olive", "onion",
    "opal", "orange", "orbit", "orchard", "orchid", "organ", "ostrich", "otter", "oven", "owl",
    "oxygen", "oyster", "paddle", "page", "paint", "palace", "palm", "pan", "pansy", "panther",
    "paper", "parade", "parcel", "parent", "park", "parrot", "passage", "pasture", "path", "patio",
    "peach", "peacock", "peanut", "pear", "pearl", "pebble", "pedal", "pelican", "pen", "pencil",
    "pepper", "perfume", "petal", "pheasant", "phone", "photo", "piano", "picnic", "picture", "pie",
    "pigeon", "pillow", "pilot", "pine", "pipe", "pirate", "pistol", "planet", "plant", "plate",
    "plaza", "plow", "plum", "pocket", "poem", "poet", "pond", "pony", "poppy", "porch", "port",
    "potato", "powder", "prairie", "prince", "princess", "prison", "prize", "profit", "puddle",
    "pumpkin", "puppy", "purse", "puzzle", "quail", "quarry", "quartz", "queen", "quilt", "rabbit",
    "radio", "raft", "rail", "rain", "raisin", "ranch", "raven", "ray", "razor", "reef", "reindeer",
    "ribbon", "rice", "rifle", "ring", "river", "road", "robin", "rocket", "roof", "room",
    "rooster", "root", "rope", "rose", "ruby", "rug", "ruler", "sack", "saddle", "sail", "salad",
    "salmon", "salt", "sand", "sandal", "satin", "sauce", "saucer", "scarf", "school", "scissors",
    "scooter", "screen", "sea", "seal", "seed", "shadow", "shark", "sheep", "shelf", "shell",
    "shield", "ship", "shirt", "shoe", "shop", "shore", "shoulder", "shovel", "shower", "shrimp",
    "shrub", "sign", "silk", "singer", "sister", "skate", "skirt", "skull", "sky", "sled", "sleeve",
    "slipper", "smoke", "snail", "snake", "snow", "soap", "sock", "soda", "sofa", "soil", "soldier",
    "son", "song", "soup", "spark", "sparrow", "spear", "spider", "spinach", "sponge", "spoon",
    "spring", "squash", "squirrel", "stable", "stadium", "stair", "star", "statue", "steam",
    "steel", "stem", "stew", "stone", "stool", "stork", "storm", "stove", "stranger", "straw",
    "stream", "street", "string", "student", "sugar", "suit", "summer", "sun", "supper", "swallow",
    "swamp", "swan", "sword", "syrup", "table", "tailor", "tank", "tape", "target", "tavern", "tea",
    "teacher", "teapot", "temple", "tent", "theater", "thief", "thorn", "thread", "throat",
    "throne", "thumb", "thunder", "ticket", "tiger", "tile", "timber", "toad", "toast", "tomato",
    "tongue", "tooth", "torch", "tower", "town", "toy", "tractor", "trail", "train", "tray",
    "treasure", "tree", "tribe", "trout", "truck", "trumpet", "trunk", "tulip", "tunnel", "turkey",
    "turnip", "turtle", "twig", "umbrella", "uncle", "uniform", "valley", "vase", "vault",
    "vegetable", "velvet", "vest", "village", "villain", "vine", "vinegar", "violin", "visitor",
    "voice", "volcano", "voyage", "wagon", "waist", "wall", "walnut", "walrus", "wasp", "water",
    "wave", "wax", "web", "wedding", "weed", "whale", "wheat", "wheel", "whip", "whisker",
    "whistle", "wife", "willow", "window", "winter", "wire", "witch", "wizard", "wolf", "woman",
    "wool", "worker", "worm", "wren", "wrist", "writer", "yacht", "yard", "yarn", "year", "zebra",
    "zinc", "zipper",
};

static const char *const verb[] = {
    "accept", "achieve", "admire", "admit", "adopt", "advise", "agree", "allow", "amuse",
    "announce", "appear", "applaud", "argue", "arrange", "arrive", "ask", "assist", "attach",
    "attend", "avoid", "bake", "balance", "bathe", "become", "beg", "begin", "behave", "believe",
    "belong", "bend", "bind", "bite", "bless", "blink", "blow", "boil", "borrow", "bounce", "break",
    "breathe", "bring", "build", "bump", "burn", "bury", "buy", "calculate", "call", "carry",
    "carve", "catch", "cause", "celebrate", "change", "charge", "chase", "chat", "check", "cheer",
    "chew", "choose", "chop", "claim", "clap", "climb", "cling", "close", "collect", "combine",
    "come", "compare", "compete", "complain", "complete", "confess", "confuse", "connect",
    "consider", "contain", "continue", "cook", "copy", "correct", "count", "cover", "crash",
    "crawl", "create", "cross", "cry", "cure", "cycle", "dance", "dare", "decay", "deceive",
    "decide", "decorate", "defend", "delay", "deliver", "deny", "depend", "describe", "deserve",
    "destroy", "develop", "dig", "disagree", "disappear", "discover", "dive", "divide", "draw",
    "drift", "drill", "drink", "drive", "drop", "earn", "eat", "educate", "embrace", "employ",
    "enjoy", "enter", "entertain", "escape", "examine", "excite", "excuse", "exist", "expand",
    "expect", "explain", "explode", "explore", "extend", "fade", "fail", "fall", "fasten", "fear",
    "feed", "feel", "fetch", "fight", "file", "fill", "find", "finish", "fit", "fix", "float",
    "flow", "fly", "fold", "follow", "forbid", "forget", "forgive", "form", "freeze", "frighten",
    "fry", "gather", "gaze", "give", "glow", "glue", "go", "grab", "greet", "grin", "grip", "grow",
    "guard", "guess", "handle", "hang", "happen", "harm", "hate", "haunt", "heal", "hear", "heat",
    "help", "hesitate", "hide", "hire", "hold", "hop", "hope", "hug", "hum", "hunt", "hurry",
    "identify", "ignore", "imagine", "improve", "include", "increase", "inform", "injure",
    "instruct", "intend", "interrupt", "introduce", "invent", "invite", "itch", "jog", "join",
    "joke", "juggle", "jump", "keep", "kick", "kneel", "knit", "knock", "know", "laugh", "launch",
    "lead", "leap", "learn", "leave", "lend", "let", "lick", "lie", "lift", "like", "list",
    "listen", "live", "load", "look", "lose", "love", "make", "march", "marry", "measure", "meddle",
    "meet", "melt", "memorize", "mend", "mix", "moan", "mourn", "move", "multiply", "murmur", "nod",
    "notice", "obey", "object", "observe", "obtain", "occur", "offer", "operate", "order", "owe",
    "own", "pack", "pardon", "part", "pass", "paste", "pause", "pay", "peck", "peel", "perform",
    "permit", "persuade", "pick", "pinch", "play", "plead", "please", "plug", "point", "poke",
    "polish", "pop", "possess", "post", "pour", "practise", "pray", "preach", "prefer", "prepare",
    "present", "preserve", "press", "pretend", "prevent", "prick", "print", "produce", "promise",
    "protect", "prove", "provide", "pull", "pump", "punish", "push", "question", "queue", "race",
    "raise", "reach", "read", "realise", "receive", "recognise", "record", "reduce", "reflect",
    "refuse", "regret", "reign", "reject", "rejoice", "relax", "release", "rely", "remain",
    "remember", "remind", "remove", "repair", "repeat", "replace", "reply", "report", "request",
    "rescue", "retire", "return", "reward", "ride", "rinse", "rise", "risk", "rock", "roll", "rot",
    "rub", "ruin", "rule", "run", "rush", "satisfy", "save", "say", "scatter", "scold", "scrape",
    "scratch", "scream", "scribble", "scrub", "search", "see", "seek", "seem", "sell", "send",
    "separate", "serve", "settle", "sew", "shake", "shape", "share", "shave", "shelter", "shine",
    "shiver", "shock", "shrug", "shut", "sigh", "sing", "sink", "sip", "sit", "skip", "slap",
    "sleep", "slide", "slip", "smash", "smell", "smile", "snatch", "sneeze", "sniff", "snore",
    "soak", "soothe", "speak", "spell", "spend", "spill", "spin", "spoil", "spot", "spray",
    "sprout", "squeak", "squeeze", "stain", "stamp", "stand", "stare", "start", "stay", "steal",
    "steer", "step", "stir", "stitch", "stop", "store", "stretch", "strike", "strip", "stroke",
    "study", "stuff", "subtract", "succeed", "suck", "suffer", "suggest", "suppose", "surprise",
    "surround", "suspect", "suspend", "sway", "swear", "sweep", "swell", "swim", "swing", "take",
    "talk", "tap", "teach", "tear", "tease", "tell", "tempt", "terrify", "test", "thank", "think",
    "throw", "tickle", "tie", "tip", "touch", "tow", "trace", "trade", "transport", "travel",
    "treat", "tremble", "trick", "trip", "trot", "trust", "try", "tug", "tumble", "turn", "twist",
    "type", "understand", "undress", "unite", "unlock", "unpack", "use", "vanish", "visit", "wail",
    "wait", "wake", "walk", "wander", "want", "warn", "wash", "waste", "watch", "wear", "weave",
    "weep", "weigh", "welcome", "whine", "whirl", "whisper", "win", "wink", "wipe", "wish",
    "wobble", "wonder", "work", "worry", "wrap", "wreck", "wrestle", "wriggle", "write", "yawn",
    "yell", "zip", "zoom",
};
/* clang-format on */

#define COUNT(list) ((int64_t)(sizeof(list) / sizeof *(list)))

int64_t sti_n_adjective(void)
{
    return COUNT(adjective);
}

int64_t sti_n_noun(void)
{
    return COUNT(noun);
}

int64_t sti_n_word(void)
{
    return COUNT(adjective) + COUNT(noun) + COUNT(verb);
}

const char *sti_adjective(int64_t i)
{
    return adjective[i];
}

const char *sti_noun(int64_t i)
{
    return noun[i];
}

const char *sti_word(int64_t i)
{
    if (i < COUNT(adjective))
        return adjective[i];
    i -= COUNT(adjective);
    return i < COUNT(noun) ? noun[i] : verb[i - COUNT(noun)];
}
