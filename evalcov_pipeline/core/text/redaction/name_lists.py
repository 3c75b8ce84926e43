"""Words that tell names of people from other capitalised words."""

from __future__ import annotations


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


GIVEN = _words(
    """
    aaliyah aaron abdul abdullah abigail adam adriana ahmed aisha akira alan alejandra
    alejandro aleksandr alessandro alessia alexander alexandra alfonso alice alicia alina
    alison allison alvaro amanda amelia amir amit amy ana anastasia anders andrea andreas
    andrei andrew andrzej angela anika anil anita anjali anna anneliese annette anthony
    antoine antonella antonio anya aoife arjun arthur arturo ashley astrid audrey ayesha
    barbara bartosz beatriz benjamin bernard bianca bjorn bogdan brandon brenda brian
    bridget brittany bruno bryan camila camille carla carlos carmen carolina caroline
    cassandra catherine cecilia cedric charlotte chiara chinedu chloe christian christina
    christine christopher ciaran claire clara claudia claudio colin connor constance craig
    cristina cynthia damian daniel daniela danielle darren david deborah deepak denise
    dennis derek deshawn diana diego dieter dimitri dmitri dominik donald donna dorothy
    douglas duncan dylan edoardo eduardo edward eileen eleanor elena elisabeth elizabeth
    ella elodie emilia emily emma emmanuel enrique eric erica erik erin ernesto esther ethan
    eugene eva evan evelyn fabian fatima federico felipe fernanda fernando fiona florian
    francesca francesco francisco francois frederic frederick gabriel gabriela gareth
    geoffrey george gerald giovanni giulia gloria gonzalo graham gregory greta guillaume
    guillermo gunther gustavo hamza hannah hans harold harpreet harriet hassan heather
    hector heinrich helen helena helga henrik hiroshi hugo hussein ian ibrahim ignacio ines
    ingrid irina isabel isabella isabelle ismail ivan jacek jacob jacqueline jakub jamal
    james jamie jan jane janet janice jasmine javier jean jeffrey jennifer jeremy jerome
    jessica jesus jiho joanna joao joaquin jobst johan johanna johannes john jonathan jorge
    jose josef joseph joshua joyce juan juanita judith julia julian juliana julie julien
    jurgen karen karim karin karina katarzyna kate katherine kathleen kathryn katja katrin
    kavita keiko keisha keith kelly kenji kenneth kerstin kevin khadija khalid kimberly
    klaus kofi kristen kristin kristina krzysztof kumiko kwame kyle lakshmi lamar lars laura
    lauren laurence laurent leah leila leonardo leslie leticia liam linda lindsay lisa
    lorenzo louise luca lucas lucia luciana lucy ludwig luis luisa luka lukas lydia maciej
    madison magdalena mahmoud malik manuel marcel marcelo marcin marco marcus margaret maria
    mariana marie marina mario marjorie marlene martin martina mary matteo matthew matthias
    maureen mauricio mei melanie melissa mercedes miguel mikhail miriam mohamed mohammad
    mohammed monica monique mustafa nadia naomi natalia natalie natasha neha nicholas nicola
    nicolas nicole nikhil nikolai nina nneka noah noemi nora oksana oleksandr olga oliver
    olivia omar oscar oskar otto pablo pamela paola pascal patricia patrick paul paula paulo
    pavel pawel pedro petra philip philippe pierre piotr pooja priscilla priya przemyslaw
    rachel rafael rahul raj rajesh ramon raquel raul ravi raymond rebecca renata ricardo
    riccardo richard robert roberta roberto rodrigo roger roland ronald rosa rosemary
    roxanne ruben russell ruth ryan sabine sabrina salma samantha samuel sandeep sandra
    sanjay santiago sara sarah sasha scott sean sebastian sergei sergio shanice sharon shawn
    sheila shirley shreya siddharth simon simone siobhan sofia sonia sophia sophie stefan
    stefano stephanie stephen steven stuart sunita suresh susan sven svetlana sylvia takeshi
    tamara tanya tatiana teresa theodore theresa thiago thomas tiffany timothy tobias tomasz
    tracy trevor ulrich ursula valentina valeria vanessa veronica vicente victor vijay
    vikram vincent virginie vladimir walter wei wendy werner wesley william wojciech xavier
    xiaoming yasmin yolanda youssef yuki yusuf yvonne zainab zoe zofia
    """
)
"""Frequent given names. Those that as often as not are no person (Will, Mark, Grace, Chase) are
left out."""

SURNAMES = _words(
    """
    adams ahmed ali allen almeida alvarez andersen anderson andersson bauer becker bennett
    bernard bianchi brown campbell carter castillo castro chan chaudhary chen chowdhury
    clark clarke collins colombo costa davies davis delgado diaz dubois edwards esposito
    evans fernandes fernandez ferrari ferreira fischer fitzgerald flores garcia gomes gomez
    gonzales gonzalez gonzalo griffin gupta gutierrez hansen harris hernandez herrera
    hoffmann hughes ibrahim ivanov jackson jansen jenkins jensen jimenez johansson johnson
    jones kapoor kaur kelly khan kim klein kowalski kumar larsen laurent lee lefebvre leroy
    lewis lim lopez mahmoud martin martinez mbeki mehta mendoza meyer miller mitchell
    mohamed moore morales moreau moreno morgan morris muller murphy murray nair nakamura
    nelson nguyen nielsen nkosi novak nowak obrien oconnor okafor okonkwo oliveira olsen
    ortega ortiz patel pereira perez petersen peterson petit phillips popescu popov ramirez
    ramos rao reddy reyes richardson rivera roberts robinson rodrigues rodriguez romano
    rossi roux ruiz russo sanchez santos sato schmidt schneider schulz scott shah sharma
    silva simmons singh smirnov smith sousa stewart sullivan suzuki tanaka taylor thomas
    thompson torres tran vargas vasquez wagner wang watanabe watson weber williams wilson
    wright yamamoto yilmaz zhang zhou zimmermann
    """
)
"""Frequent surnames that are not also everyday words or parts of place names."""

NO_NAMES = _words(
    """
    a about above account address after again all also am an and any app apple april are as
    asking at august available bank be because been before billing but by calling can card
    charged chat check company correct could customer customers date day december department
    did different do does don't email english error everybody everyone february field for
    friday friend from getting go going good google got had happy has have having he hello
    help her here hi his how i i'm i've if in incorrect invoice is it its january july june
    just know late like looking madam manager march may me mentioned microsoft mine missing
    misspelled monday my name need needs never new no not november now october of on one
    online or order our out pay paypal phone please product really regarding registered
    required sales same saturday seeing september she should shown sir so some someone
    speaking spelled spelling still stuck sunday support sure team thanks that the their
    them then there these they this those thursday to too trying tuesday two unable under up
    update upset urgent us using valid very visa wait want was we wednesday were what when
    where which who why will with working worried would writing wrong yes you your
    """
)
"""Words that follow "my name is", "this is" or "Dear" and are not names."""

BEFORE_PLACES = _words(
    """
    fort lake mount port saint san santa santo st
    """
)
"""After these a given name is a place: San Francisco."""

AFTER_PLACES = _words(
    """
    airport ave avenue bank beach blvd boulevard bridge building cafe center centre church
    city clinic club college company court drive foundation gallery garden gardens group
    hill hills hospital hotel house inc institute island lane library line llc ltd market
    museum park place plaza restaurant river road school square st station street studio
    theater theatre tower university valley way
    """
)
"""With one of these a name is a place or a company: John Wayne Airport."""
