"""Word tables of the rules teacher, in the order they are read: plain data, meant to be extended.

Pairs are written "one/other". A group of phrases that may stand for each other is a tuple.
"""

from __future__ import annotations


def word_set(text: str) -> frozenset[str]:
    """The words of a text, as a set."""
    return frozenset(text.split())


# --- closed word classes -------------------------------------------------------------------------

DETERMINERS = word_set("""
a an the this that these those each every some any no another all both either neither such many most
several few much my your his her its our their one two three other more certain various
""")
PREPOSITIONS = word_set("""
about above across after against along among amid around as at before behind below beneath beside between
beyond by despite during except for from in inside into like near of off on onto out over past per since
through throughout to toward towards under until up upon via with within without
""")
SUBJECT_PRONOUNS = word_set("""
i you he she it we they this that these those there who what
""")
SUBORDINATORS = word_set("""
if when whenever while although though because since unless until whereas whether after before once as
even provided given assuming despite where wherever
""")
CONJUNCTIONS = word_set("""
and or but nor so yet
""")
RELATIVES = word_set("""
that which who whom whose where when why how what if because while although
""")
AUXILIARIES = word_set("""
is are was were am can could will would shall should may might must cannot has have had does do did isn't
aren't wasn't weren't can't couldn't won't wouldn't shouldn't hasn't haven't hadn't doesn't don't didn't
mustn't
""")
ADVERBS = word_set("""
also often usually always never sometimes generally typically commonly currently now then still just only
even already soon later today eventually originally historically mainly mostly primarily however
therefore thus hence moreover furthermore additionally finally firstly secondly lastly please instead
overall similarly likewise meanwhile perhaps maybe both here not ultimately initially frequently rarely
normally simply really actually recently together first best
""")
FUNCTION_WORDS = (
    DETERMINERS
    | PREPOSITIONS
    | SUBJECT_PRONOUNS
    | SUBORDINATORS
    | CONJUNCTIONS
    | RELATIVES
    | AUXILIARIES
    | ADVERBS
    | word_set("""
be been being me him them us myself itself themselves yes no not than too very s t
""")
)
# Words that a name may hold between its capitalised words.
NAME_LINKS = word_set("""
of de la le du del della der den van von al el y da dos das
""")

# A full stop after one of these does not end a sentence.
ABBREVIATIONS = word_set("""
mr mrs ms dr prof sr jr st rev hon gen col capt lt sgt maj cmdr adm gov sen rep pres vs v e.g i.e eg ie
cf al approx appr est dept fig figs no nos vol vols ed eds pp p ch sec eq inc ltd co corp bros jan feb
mar apr jun jul aug sep sept oct nov dec mt ft ave blvd rd univ assn c ca b d r n lat long
""")
# These end a sentence when a capitalised word follows.
SOFT_ABBREVIATIONS = word_set("""
etc a.m p.m am pm u.s u.k u.s.a d.c b.c a.d inc ltd co corp jr sr
""")

# --- sets whose members exclude each other -----------------------------------------------------

CONTRAST_SETS: tuple[tuple[str, ...], ...] = tuple(
    tuple(word.strip() for word in line.split(","))
    for line in (
        "January, February, March, April, May, June, July, August, September, October, November, December",
        "Monday, Tuesday, Wednesday, Thursday, Friday, Saturday, Sunday",
        "spring, summer, autumn, winter",
        "red, blue, green, yellow, purple, black, white, brown, pink, grey",
        "northern, southern, eastern, western",
        "Northern, Southern, Eastern, Western",
        "north, south, east, west",
        "northeast, northwest, southeast, southwest",
        "Africa, Asia, Europe, North America, South America, Australia, Antarctica",
        "African, Asian, European, North American, South American, Australian",
        "England, France, Germany, Italy, Spain, Portugal, Greece, Poland, Sweden, Norway, Denmark, Finland, "
        "Russia, China, Japan, India, Pakistan, Brazil, Argentina, Chile, Mexico, Canada, Egypt, Nigeria, "
        "Kenya, Turkey, Iran, Indonesia, Thailand, Vietnam, Ireland, Scotland, Belgium, Austria, Switzerland",
        "English, French, German, Italian, Spanish, Portuguese, Greek, Polish, Swedish, Norwegian, Danish, "
        "Finnish, Russian, Chinese, Japanese, Indian, Brazilian, Mexican, Canadian, Egyptian, Nigerian, "
        "Turkish, Irish, Scottish, Belgian, Austrian, Swiss, Dutch, British, American",
        "Mercury, Venus, Mars, Jupiter, Saturn, Uranus, Neptune",
        "gold, silver, copper, bronze, iron",
        "brother, sister, cousin, uncle, aunt",
        "actor, singer, painter, writer, politician, lawyer, engineer, scientist, footballer",
        "novel, play, film, song, painting, poem",
        "hydrogen, helium, oxygen, nitrogen, carbon",
        "football, basketball, baseball, tennis, hockey, cricket, rugby, golf",
        "wheat, rice, maize, barley, oats",
        "beef, pork, chicken, lamb",
        "guitar, piano, violin, flute, trumpet",
        "bacterium, virus, fungus",
        "bacterial, viral, fungal",
    )
)

# --- antonyms -------------------------------------------------------------------------------------

ANTONYMS = """
accurate/inaccurate active/inactive actively/passively acute/chronic adequate/inadequate advanced/basic
advantage/disadvantage advantages/disadvantages aerobic/anaerobic affordable/unaffordable alive/dead
ancient/modern artificial/natural ascending/descending attractive/repulsive available/unavailable
aware/unaware bad/good balanced/unbalanced beautiful/ugly beginning/end beneath/above beneficial/harmful
benign/malignant best/worst better/worse bigger/smaller biggest/smallest big/small birth/death
bitter/sweet bottom/top brave/cowardly brief/lengthy bright/dim broad/narrow busy/idle capable/incapable
careful/careless central/peripheral cheap/expensive cheaper/costlier clean/dirty clear/unclear
clearly/vaguely closed/open cold/hot colder/warmer comfortable/uncomfortable common/rare commonly/rarely
competitive/uncompetitive complete/incomplete complex/simple complicated/straightforward
conscious/unconscious consistent/inconsistent constant/variable convenient/inconvenient correct/incorrect
correctly/incorrectly curable/incurable dangerous/harmless day/night daily/yearly deep/shallow
deeper/shallower defensive/offensive dependent/independent desirable/undesirable different/identical
differently/identically difficult/easy difficulty/ease direct/indirect directly/indirectly
domestic/foreign downward/upward dry/wet dull/sharp dynamic/static early/late earlier/later
earliest/latest easier/harder easily/barely east/west effective/ineffective efficient/inefficient
efficiently/inefficiently employed/unemployed empty/full enormous/tiny equal/unequal
essential/unnecessary even/uneven exciting/boring experienced/inexperienced explicit/implicit
external/internal exterior/interior extinct/thriving extraordinary/ordinary failure/success fair/unfair
familiar/unfamiliar famous/obscure far/near fast/slow faster/slower fastest/slowest father/mother
favorable/unfavorable favourite/disliked female/male fertile/barren fewer/more fictional/real
finite/infinite flexible/rigid formal/informal former/current fortunate/unfortunate fragile/robust
frequent/infrequent frequently/seldom fresh/stale friend/enemy friendly/hostile front/rear
fundamental/trivial funny/serious gentle/harsh genuine/fake global/local gradual/sudden
gradually/suddenly greater/lesser greatest/least guilty/innocent happiness/misery happy/sad harder/softer
healthy/unhealthy heavier/lighter heavy/lightweight helpful/unhelpful high/low higher/lower
highest/lowest highly/barely honest/dishonest horizontal/vertical huge/tiny husband/wife
identical/distinct illegal/legal immediate/delayed important/unimportant impossible/possible
inclusive/exclusive indoor/outdoor indoors/outdoors inexpensive/costly inferior/superior inhale/exhale
inner/outer input/output inside/outside intelligent/stupid intentional/accidental
interesting/uninteresting international/national irregular/regular joy/grief junior/senior king/queen
knowledge/ignorance large/small larger/smaller largest/smallest lawful/unlawful lazy/diligent
liberal/conservative likely/unlikely limited/unlimited liquid/solid literal/figurative logical/illogical
lonely/sociable longer/shorter longest/shortest loose/tight loud/quiet love/hate lucky/unlucky
maximum/minimum mandatory/voluntary manual/automatic manually/automatically major/minor majority/minority
male/female married/unmarried masculine/feminine mature/immature maximize/minimize men/women
mental/physical mild/severe military/civilian minimal/maximal more/less moving/stationary multiple/single
natural/artificial necessary/optional negative/positive never/always new/old newer/older newest/oldest
noisy/silent normal/abnormal nutritious/unwholesome obvious/hidden odd/even often/rarely older/younger
oldest/youngest optimistic/pessimistic organic/synthetic original/derivative outstanding/mediocre
partially/fully peace/war peaceful/violent perfect/flawed permanent/temporary permanently/temporarily
physical/mental pleasant/unpleasant plentiful/scarce polite/rude poor/rich poorly/well popular/unpopular
popularity/obscurity powerful/weak practical/impractical precise/vague predictable/unpredictable
presence/absence present/absent primarily/marginally primary/secondary private/public privately/publicly
productive/unproductive profit/loss profitable/unprofitable prominent/unknown proper/improper
properly/improperly quick/slow quickly/slowly quietly/loudly random/systematic randomly/systematically
rapid/slow rapidly/slowly rational/irrational realistic/unrealistic recent/distant relevant/irrelevant
reliable/unreliable religious/secular renowned/unknown renewable/nonrenewable responsible/irresponsible
reversible/irreversible rough/smooth rural/urban safe/unsafe safely/dangerously safer/riskier
satisfied/dissatisfied scarce/abundant sensitive/insensitive separate/joint short/long shorter/longer
significant/insignificant significantly/slightly similar/different similarity/difference
similarities/differences simple/complicated simpler/trickier slightly/considerably sober/drunk soft/hard
softer/harder soluble/insoluble son/daughter specific/general stable/unstable standard/unusual
strength/weakness strengths/weaknesses strict/lenient strong/weak stronger/weaker strongest/weakest
successful/unsuccessful successfully/unsuccessfully sufficient/insufficient suitable/unsuitable
supply/demand sunny/cloudy superior/inferior sweet/sour symmetric/asymmetric tall/short taller/shorter
tallest/shortest thick/thin thicker/thinner tiny/huge toxic/harmless traditional/unconventional
transparent/opaque true/false typical/atypical typically/rarely unique/commonplace upper/lower
urgent/trivial useful/useless usual/unusual usually/rarely valid/invalid valuable/worthless
victory/defeat vast/tiny visible/invisible warm/cool warmer/cooler warming/cooling wealth/poverty
wealthy/poor well-known/little-known wide/narrow widely/scarcely wider/narrower winner/loser
winners/losers wisdom/folly wise/foolish woman/man women/men worse/better worst/best young/old
younger/older inflation/deflation import/export imports/exports buyer/seller buyers/sellers
teacher/student virtue/vice hero/villain optimist/pessimist creditor/debtor predator/prey hope/despair
courage/cowardice beauty/ugliness order/disorder health/illness pleasure/pain autosomal/X-linked
dominant/recessive congenital/acquired inherited/acquired
"""
# Verbs with regular forms; -s, -ed and -ing are made from them.
ANTONYM_VERBS = """
increase/decrease accept/reject add/remove agree/disagree allow/prevent appear/disappear arrive/depart
attack/defend attract/repel close/open connect/disconnect contract/expand create/destroy damage/repair
enable/prevent encourage/discourage enter/leave expand/shrink fail/succeed include/exclude improve/worsen
increase/reduce join/leave lower/raise maximize/minimize permit/prohibit prevent/cause promote/hinder
protect/endanger pull/push raise/lower reduce/increase relax/tighten reject/accept reveal/conceal
save/waste start/finish strengthen/weaken succeed/fail support/oppose unite/divide praise/criticise
trust/distrust reward/punish
"""
# Longer phrases, tried before the single words.
ANTONYM_PHRASES = (
    ("at least", "at most"),
    ("more than", "less than"),
    ("the most", "the least"),
    ("one of the most", "one of the least"),
    ("a lot of", "hardly any"),
    ("in favor of", "against"),
    ("known for", "never known for"),
    ("due to", "in spite of"),
    ("because of", "regardless of"),
    ("long-term", "short-term"),
    ("high-quality", "low-quality"),
    ("all over", "hardly anywhere in"),
    ("in addition to", "in place of"),
    ("part of", "separate from"),
    ("up to", "no less than"),
)
# A match followed by one of these words is another sense: "general Henry", "like this", "even if".
ANTONYM_BLOCKED_NEXT = {
    "even": "if though when the a more",
    "general": "election assembly manager",
    "open": "source",
    "long": "as term",
    "the most": "of part common recent importantly",
    "present": "day",
    "well": "as known",
    "hard": "drive disk",
    "high": "school schools",
    "soft": "drink drinks",
    "hot": "dog dogs",
    "white": "house",
    "even more": "than",
    "more": "or and than",
    "like": "",
    "order": "to",
    "support": "system group groups",
}
ANTONYM_BLOCKED_BEFORE = {
    "order": "in",
    "less": "or",
    "more": "once even no or any much the and many some few",
    "day": "to this every each one per a",
    "like": "looks look would something things is are was feel just",
    "well": "as",
    "present": "the at",
    "past": "the",
    "end": "the in",
    "end up": "",
    "beginning": "the",
    "love": "of in true",
    "open": "the",
    "close": "to",
    "start": "to",
    "left": "the",
    "hard": "work",
    "even": "or not and but",
    "man": "iron bat super spider",
}

# --- rephrasing -----------------------------------------------------------------------------------

# Phrases of a group mean the same in every sentence they may stand in: each is exchanged for another
# member of its group. Names, numbers, negation and modality stay out of this table.
EQUIVALENTS: tuple[tuple[str, ...], ...] = (
    ("was founded by", "was established by"),
    ("were founded by", "were established by"),
    ("was founded in", "was established in"),
    ("were founded in", "were established in"),
    ("is located in", "is situated in"),
    ("are located in", "are situated in"),
    ("was located in", "was situated in"),
    ("is located on", "is situated on"),
    ("is located at", "is situated at"),
    ("is located near", "is situated near"),
    ("lies in", "is situated in"),
    ("lies on", "is situated on"),
    ("is best known for", "is most famous for"),
    ("was best known for", "was most famous for"),
    ("is known for", "is famous for"),
    ("are known for", "are famous for"),
    ("was known for", "was famous for"),
    ("were known for", "were famous for"),
    ("for example", "for instance"),
    ("as well as", "along with"),
    ("was constructed in", "was built in"),
    ("was constructed by", "was built by"),
    ("were constructed in", "were built in"),
    ("was constructed", "was built"),
    ("began in", "started in"),
    ("began to", "started to"),
    ("begins with", "starts with"),
    ("began as", "started as"),
    ("began with", "started with"),
    ("begin with", "start with"),
    ("begin to", "start to"),
    ("begins to", "starts to"),
    ("is made up of", "consists of"),
    ("are made up of", "consist of"),
    ("is composed of", "consists of"),
    ("are composed of", "consist of"),
    ("was composed of", "consisted of"),
    ("however,", "nevertheless,"),
    ("therefore,", "consequently,"),
    ("in addition,", "additionally,"),
    ("furthermore,", "moreover,"),
    ("as a result,", "consequently,"),
    ("because of", "owing to"),
    ("is referred to as", "is known as"),
    ("are referred to as", "are known as"),
    ("was referred to as", "was known as"),
    ("approximately", "roughly"),
    ("throughout the world", "all over the world"),
    ("around the world", "across the world"),
    ("lots of", "a lot of"),
    ("a wide range of", "a broad range of"),
    ("a wide variety of", "a broad variety of"),
    ("a variety of", "a range of"),
    ("various kinds of", "various types of"),
    ("different kinds of", "different types of"),
    ("many kinds of", "many types of"),
    ("kinds of", "types of"),
    ("one kind of", "one type of"),
    ("a kind of", "a type of"),
    ("takes place in", "is held in"),
    ("takes place every", "is held every"),
    ("frequently", "often"),
    ("usually", "normally"),
    ("takes its name from", "is named after"),
    ("almost", "nearly"),
    ("primarily", "mainly", "chiefly"),
    ("is believed to be", "is thought to be"),
    ("are believed to be", "are thought to be"),
    ("is considered to be", "is regarded as"),
    ("are considered to be", "are regarded as"),
    ("is considered a", "is regarded as a"),
    ("is considered an", "is regarded as an"),
    ("is considered one of", "is regarded as one of"),
    ("make sure that", "ensure that"),
    ("make sure to", "be sure to"),
    ("is surrounded by", "is encircled by"),
    ("is also known as", "is also called"),
    ("are also known as", "are also called"),
    ("was also known as", "was also called"),
    ("also known as", "also called"),
    ("commonly known as", "commonly called"),
    ("even though", "although"),
    ("because of this,", "for this reason,"),
    ("over the course of", "in the course of"),
    ("trying to", "attempting to"),
    ("in order to", "so as to"),
    ("depends on", "is dependent on"),
    ("depend on", "are dependent on"),
    ("is bordered by", "borders on"),
    ("on the other hand,", "by contrast,"),
    ("in contrast,", "by contrast,"),
    ("in general,", "generally,"),
    ("typically,", "as a rule,"),
    ("in conclusion,", "to conclude,"),
    ("in summary,", "to sum up,"),
    ("in recent years", "over recent years"),
    ("regardless of", "irrespective of"),
    ("with regard to", "with respect to"),
    ("is used to describe", "serves to describe"),
    ("originated in", "had its origin in"),
)
# Read from left to right only: the other direction would be wrong in some sentences.
ONE_WAY: tuple[tuple[str, str], ...] = (
    ("a large number of", "a great many"),
    ("a number of", "several"),
    ("despite the fact that", "although"),
    ("in spite of the fact that", "although"),
    ("in the event that", "if"),
    ("at this point in time", "now"),
    ("try to", "attempt to"),
    ("tries to", "attempts to"),
    ("tried to", "attempted to"),
    ("in the process of", "in the course of"),
    ("due to the fact that", "because"),
    ("owing to the fact that", "because"),
    ("prior to", "before"),
    ("subsequent to", "after"),
    ("in the vicinity of", "near"),
    ("passed away", "died"),
    ("was given the name", "was named"),
    ("on a regular basis", "regularly"),
    ("on a daily basis", "every day"),
    ("the majority of", "most of"),
    ("with the exception of", "except for"),
    ("in close proximity to", "close to"),
    ("a great deal of", "much"),
    ("in the course of time", "over time"),
    ("each and every", "every"),
    ("first and foremost", "above all"),
    ("don't", "do not"),
    ("doesn't", "does not"),
    ("didn't", "did not"),
    ("isn't", "is not"),
    ("aren't", "are not"),
    ("wasn't", "was not"),
    ("weren't", "were not"),
    ("can't", "cannot"),
    ("couldn't", "could not"),
    ("won't", "will not"),
    ("wouldn't", "would not"),
    ("shouldn't", "should not"),
    ("haven't", "have not"),
    ("hasn't", "has not"),
    ("hadn't", "had not"),
    ("you're", "you are"),
    ("we're", "we are"),
    ("they're", "they are"),
    ("you've", "you have"),
    ("we've", "we have"),
    ("they've", "they have"),
    ("you'll", "you will"),
    ("they'll", "they will"),
    ("we'll", "we will"),
    ("it'll", "it will"),
    ("I'm", "I am"),
    ("I've", "I have"),
    ("I'll", "I will"),
    ("it's a", "it is a"),
    ("it's an", "it is an"),
    ("it's the", "it is the"),
    ("it's not", "it is not"),
    ("it's also", "it is also"),
    ("it's important", "it is important"),
    ("it's been", "it has been"),
    ("that's a", "that is a"),
    ("that's the", "that is the"),
    ("there's a", "there is a"),
    ("there's no", "there is no"),
    ("he's a", "he is a"),
    ("she's a", "she is a"),
)

# These change only before the name of a place: an answer "lies in" an idea too.
NEEDS_PLACE = frozenset({"lies in", "lies on"})

# --- verbs --------------------------------------------------------------------------------------

REGULAR_VERBS = sorted(
    word_set("""
date brew bake craft
accept achieve act add affect aim allow answer appear apply approach argue arise arrive ask attack attend
attract avoid base believe belong benefit border burn call carry cause celebrate change charge choose
claim clean close collect combine compare compete complete compose conduct connect consider consist
consume contain continue contribute control convert cook cool cost cover create cross dance deal decide
declare define deliver demand depend derive describe design destroy determine develop die differ discover
discuss divide dominate earn eat emerge employ enable encourage end enjoy ensure enter establish evolve
exist expand experience explain export express extend face fail feature feed fill finish fit flow focus
follow force form found function gain gather generate govern guide happen hate help host hunt identify
import improve include increase indicate influence inherit inspire introduce invade invent involve join
jump kill lack last launch lead learn like limit link list live locate look love lower maintain manage
mark marry measure migrate mix move multiply name need occur offer open operate order organize originate
own participate pass perform plant play possess practice prefer prepare prevent process produce promote
protect prove provide publish pull purchase push raise range reach receive recognize record reduce refer
reflect regulate relate release rely remain remove replace report represent require reside respond result
retain retire return reveal rule save score seem separate serve settle share show sign sound span
specialize spread stand start stay step stop store stretch study suffer suggest supply support surround
survive talk target taste teach tend test touch trace trade train transfer translate transport travel
treat try turn use vary view visit vote walk want warn wash watch wear weigh work yield trigger boast
house stem stun damage contract resemble refuse smell prey thrive invest store absorb
""")
)
# base: past, participle
IRREGULAR_VERBS = {
    line.split()[0]: (line.split()[1], line.split()[2])
    for line in """
become became become
begin began begun
break broke broken
bring brought brought
build built built
buy bought bought
catch caught caught
choose chose chosen
come came come
cost cost cost
cut cut cut
deal dealt dealt
do did done
draw drew drawn
drink drank drunk
drive drove driven
eat ate eaten
fall fell fallen
feed fed fed
feel felt felt
fight fought fought
find found found
fly flew flown
forget forgot forgotten
get got gotten
give gave given
go went gone
grow grew grown
have had had
hear heard heard
hold held held
keep kept kept
know knew known
lay laid laid
lead led led
leave left left
lie lay lain
lose lost lost
make made made
mean meant meant
meet met met
pay paid paid
put put put
read read read
ride rode ridden
rise rose risen
run ran run
say said said
see saw seen
sell sold sold
send sent sent
set set set
shine shone shone
sing sang sung
sit sat sat
sleep slept slept
speak spoke spoken
spend spent spent
spread spread spread
stand stood stood
swim swam swum
take took taken
teach taught taught
tell told told
think thought thought
understand understood understood
wear wore worn
win won won
write wrote written
arise arose arisen
show showed shown
""".strip().splitlines()
}

# Nouns that make "who" the question word.
PERSON_NOUNS = word_set("""
founder mayor author king queen ruler leader president director writer singer actor actress artist
painter poet politician scientist player footballer musician composer lawyer engineer inventor officer
minister philosopher businessman entrepreneur novelist rapper comedian host coach captain emperor prince
princess physicist chemist mathematician historian economist journalist explorer architect designer
producer guitarist drummer songwriter cricketer golfer boxer wrestler swimmer member son daughter
""")
PLACE_VERBS = word_set("""
located situated born based held buried headquartered
""")
