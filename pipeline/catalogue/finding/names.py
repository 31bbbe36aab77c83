"""How customers call things, as data: words that ask and name nothing, words for any product, words for the same thing."""

import itertools

from pipeline.catalogue.finding.words import STOP, plain_words, stem

_ASKING = """
weigh weight heavy lighter heavier size sizes big bigger biggest small smaller large larger tall taller high height
long longer length wide width deep depth dimension dimensions measure measures measurement measurements color colour
colors colours shade coloured material made make makes making built price priced cost costs expensive cheap cheaper
cheapest much many number count total year years old age aged ages published publish publisher publishes wrote write
writes written author writer language format warranty guarantee guaranteed covered cover country origin manufactured
manufacturer pages page pieces piece watt watts volt volts voltage wattage power powerful powered capacity hold holds
fit fits work works working play safe real included include includes including kind type sort brand model buy order
open opened finished child kids good suitable suit run runs running time minutes hours last lasts put look real
anything something given ok okay bring brings own take takes fine inside outside actually really exactly wear carry
replace charge waterproof washable wash washed washing dishwasher microwave thick strong stop break breaks broke
support released release recorded sold sell available stock ship shipping return refund deliver delivery around today
tomorrow between than enough more less most least ever always still even better best difference compare compared
versus vs which details detail info information describe description tell say says said called name named mean means
help wonder wondering looking interested thinking ask question quick plug plugs cook cooks load fill fills leak leaks
smell smells rust fade shrink stretch itch itchy rip tear scratch stain clean cleans cleaning easy hard soft quiet
loud warm cold hot dry wet winter summer give gift present birthday wife husband son daughter nephew niece mum mom dad
kid baby grandson granddaughter friend man men woman women boy boys girl girls adult adults person people black white
red blue green yellow orange purple pink brown grey gray silver gold golden ivory cream beige navy turquoise lilac
"""
ASKING = frozenset(map(stem, _ASKING.split()))
"""What a question is put with; such a word beside a title's does not make it another product's name."""

_GENERIC = """
book film movie dvd cd album audiobook novel story puzzle toy game tool item gadget thing set kit guide recording
record disc tape version edition box pack one brand make article device machine
"""
GENERIC = frozenset(map(stem, _GENERIC.split()))
"""Names that fit many products; alone they name none."""

_SAME = """
bike bicycle cycle | lamp light torch headlamp flashlight lantern | tin pan mould | mill grinder | cup mug beaker | hat beanie cap
jumper sweater pullover jersey | puzzle jigsaw | sofa couch settee | rug mat carpet | mobile smartphone cellphone phone
television tv telly | film movie dvd | book novel paperback hardcover | album cd record | trousers pants | trainers sneakers
rucksack backpack | vacuum hoover | nappy diaper | tap faucet | spanner wrench | fridge refrigerator | stove cooker hob
dress frock pinafore | coat jacket anorak raincoat | charger powerbank | pram stroller pushchair | bin trashcan | secateurs pruner
duvet comforter | torch flashlight | notebook notepad jotter | pen biro | speaker loudspeaker | earphone headphone earbud
teddy plush plushie | hosepipe hose | blender mixer | crayon crayons | screwdriver screwdrivers | drill driver
"""
SAME: dict[str, frozenset[str]] = {}
for _line in _SAME.replace("\n", "|").split("|"):
    _group = frozenset(map(stem, plain_words(_line)))
    for _word in _group:
        SAME[_word] = SAME.get(_word, frozenset()) | _group
"""Words that customers use for one another; not for measuring, only for telling whether a name fits."""

SAYS_NOTHING = frozenset(STOP) | frozenset(map(stem, STOP))

QUESTIONS_WORDS = tuple(dict.fromkeys((*sorted(STOP), *_ASKING.split(), *_GENERIC.split())))
"""What a misspelled word of a question may have been meant for, beside the words of its product."""

_PARTS = """
handle handles lid lids base strap straps cord cable leg legs wheel wheels blade blades cover battery motor frame seat button
buttons zip zipper sole soles lens screen hose bolt bolts screw screws bracket hook chain spring bottom pocket pockets hood
sleeves collar cushion shelf shelves drawer drawers door knob neck tip belt buckle pouch plug pedal pedals rim spout
nozzle filter tube valve pad trim stand stopper cap
"""
PARTS = frozenset(map(stem, _PARTS.split()))
"""Parts of products, which may be of another colour and material than the rest."""


def spelled(title: str) -> dict[str, set[str]]:
    """A title's words as they are spelled, two in a row written as one too ("lunchbox"), with the stems they stand for."""
    words = [word for word in plain_words(title) if word not in SAYS_NOTHING]
    own = {word: {stem(word)} for word in words}
    for first, second in itertools.pairwise(words):
        own.setdefault(first + second, {stem(first), stem(second)})
    return own
