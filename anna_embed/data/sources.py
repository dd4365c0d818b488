"""The known sources: the 33 dataset names of the report's Table 1, SNLI and MultiNLI, and some more.

`instruction` is the report's wording, verbatim; where it slips, `instruction` is mended and `literal_instruction`
keeps the slip (`instruction: literal` in a recipe takes it). `python -m anna_embed sources` prints this table.
"""

from anna_embed.data.source import Source

QUERY_POSITIVE = {"query": "query", "positive": "positive"}
TRIPLES = {**QUERY_POSITIVE, "negatives": "negative"}
NLI_COLUMNS = {"premise": "premise", "hypothesis": "hypothesis", "label": "label"}
NLI_LABELS = {0: "entailment", 1: "neutral", 2: "contradiction"}
GRADED = {"sentence1": "sentence1", "sentence2": "sentence2", "score": "score"}
WITH_ABSTRACT = {"text": ["title", "abstract"]}
LABELLED = {"text": "text", "label": "label_text"}
JUDGED = {"query_id": "query-id", "positive_id": "corpus-id", "relevance": "score"}  # BEIR's judgements
SITES = ("biology", "chemistry", "cooking", "cs", "security")
SIMILAR = "Retrieve semantically similar text."


def beir(name: str, path: str, instruction: str, split: str = "train", **more) -> Source:
    """A dataset in BEIR's shape as mteb stores it: judgements by id, and tables of queries and passages."""
    return Source(name, "retrieval", path, JUDGED, instruction, split=split,
                  corpus={"config": "corpus", "split": "corpus", "id": "_id", "text": ["title", "text"]},
                  queries={"config": "queries", "split": "queries", "id": "_id", "text": "text"}, **more)


REPORT = (
    # ---- retrieval -------------------------------------------------------------------------------------------------
    beir("ArguAna", "mteb/arguana", "Given a claim, find documents that refute the claim.", split="test",
         licence="CC BY-SA 4.0", mteb_tasks=["ArguAna"],
         notes="Has a test split only, and the training bundle that the report follows (cfli/bge-full-data) contains "
               "it (mteb issue 1372). Whoever trains on it is not scored on ArguAna: audited against its test set "
               "nothing is left. Stand-in: BeIR/arguana-generated-queries (query, title, text): generated queries "
               "for the same passages, another task."),
    Source("ELI5", "retrieval", "sentence-transformers/eli5", {"query": "question", "positive": "answer"},
           "Provided a user question, retrieve the highest voted answers on Reddit ELI5 forum.", config="pair",
           licence="Reddit users' text, no explicit grant to redistribute",
           notes="No MTEB task. 325,475 pairs."),
    beir("FEVER", "mteb/fever", "Given a claim, retrieve documents that support or refute the claim.",
         licence="CC BY-SA 3.0", mteb_tasks=["FEVER", "FEVERHardNegatives"],
         notes="140,085 judgements, 5.4 M passages, which Climate-FEVER searches too: set corpus_limit on small "
               "machines."),
    beir("FiQA2018", "mteb/fiqa", "Given a financial question, retrieve user replies that best answer the question.",
         licence="research use, no formal licence", mteb_tasks=["FiQA2018"],
         notes="14,166 training judgements. The query table holds the queries of all splits: only the judgements tell "
               "them apart. LLukas22/fiqa 'test' is BEIR's test set with answers."),
    beir("HotpotQA", "mteb/hotpotqa",
         "Given a multi-hop question, retrieve documents that can help answer the question.",
         licence="CC BY-SA 4.0", mteb_tasks=["HotpotQA", "HotpotQAHardNegatives"],
         notes="Two positives per question: 170,000 rows of 85,000 questions; 5.2 M passages, so set corpus_limit on "
               "small machines."),
    beir("MSMARCO", "mteb/msmarco", "Given a web search query, retrieve relevant passages that answer the query.",
         licence="non-commercial research purposes only", mteb_tasks=["MSMARCO"],
         notes="532,751 judgements, 8.8 M passages: set limit and corpus_limit on small machines. Many unjudged "
               "passages are relevant, so mine with the margin. MTEB evaluates on dev."),
    Source("Natural Question", "retrieval", "sentence-transformers/natural-questions",
           {"query": "query", "positive": "answer"},
           "Given a question, retrieve Wikipedia passages that answer the question.", config="pair",
           licence="CC BY-SA 3.0", mteb_tasks=["NQ"],
           notes="100,231 pairs of the original training set; mteb/nq has no training split. BEIR's NQ test "
                 "questions come from the dev set."),
    Source("QuoraDupQuestion", "retrieval", "sentence-transformers/quora-duplicates",
           {"query": "anchor", "positive": "positive"},
           "Given a question, retrieve questions that are semantically equivalent to the given question.",
           config="pair", licence="Quora terms, non-commercial use", mteb_tasks=["QuoraRetrieval"],
           notes="The pairs do not say which of them BEIR put into Quora's dev and test sets: audit against "
                 "mteb/quora. The report names no split."),
    Source("SQuAD", "retrieval", "rajpurkar/squad", {"query": "question", "positive": "context"},
           "Given a question, retrieve passages that answer the question.",
           "Given a question, retrieve passages that answer the question", config="plain_text", licence="CC BY-SA 4.0",
           notes="The only instruction of the report without a full stop. About five questions share a passage. "
                 "XQuAD and QNLI come from SQuAD's dev set."),

    # ---- STS -------------------------------------------------------------------------------------------------------
    Source("STS12", "sts", "mteb/sts12-sts", GRADED, SIMILAR, licence="MSR research licence; parts free for research",
           mteb_tasks=["STS12"],
           notes="2,234 training pairs, of which 251 are pairs of STSBenchmark's test set: audit."),
    Source("STS22", "sts", "mteb/sts22-crosslingual-sts", GRADED, SIMILAR, config="en", score_range=[1.0, 4.0],
           licence="not stated (texts of news sites)", mteb_tasks=["STS22", "STS22.v2"],
           notes="About 1,740 English training pairs of whole news articles, most of them longer than 512 tokens. "
                 "Scores run from 1 to 4, 4 for the same story; before August 2022 the copy had them the other way "
                 "round."),
    Source("STSBenchmark", "sts", "mteb/stsbenchmark-sts", GRADED, SIMILAR, licence="CC BY-SA 4.0",
           mteb_tasks=["STSBenchmark"],
           notes="Put together from SemEval 2012 to 2017: its training split holds 1,003 of the 3,108 STS12 test "
                 "pairs, 597 of 1,500 of STS13, 1,861 of 3,750 of STS14: audit against them. Its year column says "
                 "which SemEval a pair is of: leave_out: {year: [...]} where a test set is not at hand."),

    # ---- classification: the label's text is the positive ----------------------------------------------------------
    Source("AmazonCounterfactualClassification", "classification", "mteb/amazon_counterfactual",
           {"text": "text", "label": "label"},
           "Classify a given Amazon customer review text as either counterfactual or not-counterfactual.", config="en",
           labels={0: "not-counterfactual", 1: "counterfactual"}, licence="CC BY 4.0",
           mteb_tasks=["AmazonCounterfactualClassification"], notes="4,018 rows, 19 % counterfactual."),
    Source("AmazonReviewsClassification", "classification", "mteb/AmazonReviewsClassification",
           {"text": "text", "label": "label"},
           "Classify the given Amazon review into its appropriate rating category.",
           config="en", labels={0: "1 star", 1: "2 stars", 2: "3 stars", 3: "4 stars", 4: "5 stars"},
           licence="Amazon reviews licence, non-commercial research", mteb_tasks=["AmazonReviewsClassification"],
           notes="Amazon withdrew the dataset (amazon_reviews_multi is defunct on the Hub); MTEB's copy stands in "
                 "while it is up, with text and numbers as labels. cfli/bge-full-data has 20,000 rows (split "
                 "amazon_reviews_classification; query, pos, neg)."),
    Source("Banking77Classification", "classification", "mteb/banking77", LABELLED,
           "Given an online banking query, find the corresponding intents.",
           "Given a online banking query, find the corresponding intents.", licence="CC BY 4.0",
           mteb_tasks=["Banking77Classification"], notes="The report (and mteb) write 'a online'. 77 intents."),
    Source("EmotionClassification", "classification", "mteb/emotion", LABELLED,
           "Classify the emotion expressed in the given Twitter message into one of the six emotions: anger, fear, "
           "joy, love, sadness, and surprise.", licence="educational and research purposes",
           mteb_tasks=["EmotionClassification"],
           notes="60 of 16,000 rows give a text two emotions; they are dropped."),
    Source("ImdbClassification", "classification", "mteb/imdb", LABELLED,
           "Classify the sentiment expressed in the given movie review text from the IMDB dataset.",
           licence="research use, no formal licence", mteb_tasks=["ImdbClassification"],
           notes="Long texts, 230 words on average."),
    Source("MTOPIntentClassification", "classification", "mteb/mtop_intent", LABELLED,
           "Classify the intent of the given utterance in task-oriented conversation.", config="en",
           files="en/{split}*", licence="CC BY-SA 4.0", mteb_tasks=["MTOPIntentClassification"],
           notes="The repository has a loading script, which datasets 4 and later refuse: its files are read "
                 "directly. MTEB's newer copy, mteb/MTOPIntentClassification, has labels as bare numbers. "
                 "MTOPDomainClassification has the same utterances."),
    Source("ToxicConversationsClassification", "classification", "mteb/toxic_conversations_50k",
           {"text": "text", "label": "label"}, "Classify the given comments as either toxic or not toxic.",
           labels={0: "not toxic", 1: "toxic"}, licence="CC BY 4.0", mteb_tasks=["ToxicConversationsClassification"],
           notes="50,000 rows, 8 % toxic."),
    Source("TweetSentimentExtractionClassification", "classification", "mteb/tweet_sentiment_extraction", LABELLED,
           "Classify the sentiment of a given tweet as either positive, negative, or neutral.", licence="CC BY 4.0",
           mteb_tasks=["TweetSentimentExtractionClassification"], notes="One of the 27,481 training rows is empty."),

    # ---- clustering: another text of the category is the positive --------------------------------------------------
    Source("ArxivClusteringP2P", "clustering", "mteb/raw_arxiv", {**WITH_ABSTRACT, "label": "categories"},
           "Identify the main and secondary category of Arxiv papers based on the titles and abstracts.",
           label_pattern=r"^\S+", licence="CC0 1.0",
           mteb_tasks=["ArxivClusteringP2P", "ArXivHierarchicalClusteringP2P"],
           notes="MTEB's arXiv sets are test sets drawn from these 2.2 M papers, 628,409 texts of them: audit against "
                 "mteb/arxiv-clustering-p2p. The first category is the paper's primary one (cs.CL); label_pattern "
                 "'^[^.\\s]+' gives the main one (cs). Read a part: split: train[:300000]."),
    Source("ArxivClusteringS2S", "clustering", "mteb/raw_arxiv", {"text": "title", "label": "categories"},
           "Identify the main and secondary category of Arxiv papers based on the titles.", label_pattern=r"^\S+",
           licence="CC0 1.0", mteb_tasks=["ArxivClusteringS2S", "ArXivHierarchicalClusteringS2S"],
           notes="As ArxivClusteringP2P; audit against mteb/arxiv-clustering-s2s."),
    Source("BiorxivClusteringP2P", "clustering", "mteb/raw_biorxiv", {**WITH_ABSTRACT, "label": "category"},
           "Identify the main category of Biorxiv papers based on the titles and abstracts.",
           licence="as bioRxiv's authors chose, paper by paper",
           mteb_tasks=["BiorxivClusteringP2P", "BiorxivClusteringP2P.v2"],
           notes="MTEB's bioRxiv sets are test sets drawn from these papers, and version 2 holds 53,787 of them, "
                 "nearly all: audit against mteb/biorxiv-clustering-p2p, and little is left."),
    Source("BiorxivClusteringS2S", "clustering", "mteb/raw_biorxiv", {"text": "title", "label": "category"},
           "Identify the main category of Biorxiv papers based on the titles.",
           licence="as bioRxiv's authors chose, paper by paper",
           mteb_tasks=["BiorxivClusteringS2S", "BiorxivClusteringS2S.v2"],
           notes="As BiorxivClusteringP2P; audit against mteb/biorxiv-clustering-s2s."),
    Source("MedrxivClusteringP2P", "clustering", "mteb/raw_medrxiv", {**WITH_ABSTRACT, "label": "category"},
           "Identify the main category of Medrxiv papers based on the titles and abstracts.",
           licence="as medRxiv's authors chose, paper by paper",
           mteb_tasks=["MedrxivClusteringP2P", "MedrxivClusteringP2P.v2"],
           notes="MTEB's medRxiv sets are test sets drawn from these papers and hold 16,265 of them, nearly all: "
                 "audit against mteb/medrxiv-clustering-p2p, and little is left."),
    Source("MedrxivClusteringS2S", "clustering", "mteb/raw_medrxiv", {"text": "title", "label": "category"},
           "Identify the main category of Medrxiv papers based on the titles.",
           licence="as medRxiv's authors chose, paper by paper",
           mteb_tasks=["MedrxivClusteringS2S", "MedrxivClusteringS2S.v2"],
           notes="As MedrxivClusteringP2P; audit against mteb/medrxiv-clustering-s2s."),
    Source("RedditClustering", "clustering", "sentence-transformers/reddit-title-body",
           {"text": "title", "label": "subreddit"}, "Identify the topic or theme of Reddit posts based on the titles.",
           split="train[:200000]", files="reddit_title_text_2010.jsonl.gz",
           licence="Reddit users' text, no explicit grant", mteb_tasks=["RedditClustering", "RedditClustering.v2"],
           notes="mteb/reddit-clustering has a test split only. 127 M posts in a file a year: 2010 is read, because "
                 "MTEB's P2P test set was drawn from 2021."),
    Source("RedditClusteringS2S", "clustering", "sentence-transformers/reddit-title-body",
           {"text": "title", "label": "subreddit"}, "Identify the topic or theme of Reddit posts based on the titles.",
           "Identify the topic or theme of Reddit posts based on the titles and posts.",
           split="train[200000:400000]", files="reddit_title_text_2010.jsonl.gz",
           licence="Reddit users' text, no explicit grant", mteb_tasks=["RedditClustering", "RedditClustering.v2"],
           notes="S2S means titles, but the report gives it the instruction of RedditClusteringP2P; and MTEB's "
                 "RedditClustering is the S2S task already. So this reads other titles with the instruction for "
                 "titles. Who takes the name for the slip writes columns: {text: [title, body], label: subreddit}, "
                 "instruction: literal."),
    Source("StackexchangeClustering", "clustering", "mteb/stackexchange-clustering",
           {"text": "sentences", "label": "labels"},
           "Identify the topic or theme of StackExchange posts based on the titles.", split="validation",
           licence="CC BY-SA 4.0", mteb_tasks=["StackExchangeClustering", "StackExchangeClustering.v2"],
           notes="No training split: the validation split, 25 rows with lists of titles and sites, which overlap "
                 "each other."),
    Source("StackexchangeClusteringP2P", "clustering", "flax-sentence-embeddings/stackexchange_title_body_jsonl",
           {"text": ["texts.0", "texts.1"], "label": "tags.0"},
           "Identify the topic or theme of StackExchange posts based on the given paragraphs.",
           files=[f"{site}.stackexchange.com.jsonl.gz" for site in SITES],
           licence="CC BY-SA 4.0", mteb_tasks=["StackExchangeClusteringP2P", "StackExchangeClusteringP2P.v2"],
           notes="mteb/stackexchange-clustering-p2p has a test split only, drawn from this dataset: audit. One file "
                 "a site: five sites are read; the category is a post's first tag. Its columns (texts: title and "
                 "body; tags) are from memory of its card, not checked."),
    Source("TwentyNewsgroupsClustering", "clustering", "SetFit/20_newsgroups", LABELLED,
           "Identify the topic or theme of the given news articles.", licence="public Usenet posts, no formal licence",
           mteb_tasks=["TwentyNewsgroupsClustering", "TwentyNewsgroupsClustering.v2"],
           notes="MTEB's test set has subject lines only, of the whole collection, so the audit cannot see the "
                 "overlap. Posts, not news articles. 300 of 11,314 texts are empty without headers, footers "
                 "and quotes."),

    # ---- reranking -------------------------------------------------------------------------------------------------
    Source("SciDocsRR", "reranking", "mteb/scidocs-reranking", TRIPLES,
           "Given a title of a scientific paper, retrieve the titles of other relevant papers.", split="validation",
           licence="CC BY 4.0", mteb_tasks=["SciDocsRR"],
           notes="No training split: the validation split. SCIDOCS (retrieval) comes from the same papers."),
    Source("StackOverflowDupQuestions", "reranking", "mteb/stackoverflowdupquestions-reranking", TRIPLES,
           "Retrieve duplicate questions from StackOverflow forum.", licence="CC BY-SA 4.0 (Stack Overflow text)",
           mteb_tasks=["StackOverflowDupQuestions"], notes="Titles only."),
)

NLI = (
    Source("SNLI", "nli", "stanfordnlp/snli", NLI_COLUMNS, SIMILAR, config="plain_text", labels=NLI_LABELS,
           licence="CC BY-SA 4.0",
           notes="The report gives NLI no instruction: this is its instruction for STS. Label -1: no gold label; "
                 "dropped."),
    Source("MultiNLI", "nli", "nyu-mll/multi_nli", NLI_COLUMNS, SIMILAR, labels=NLI_LABELS,
           licence="OANC; parts CC BY-SA 3.0, CC BY 3.0",
           notes="Written with one hypothesis per label for each premise."),
)

MORE = (
    Source("BoolQ", "retrieval", "google/boolq", {"query": "question", "positive": "passage"},
           "Given a question, retrieve Wikipedia passages that answer the question.", test_split="validation",
           licence="CC BY-SA 3.0", notes="Yes/no questions; the answer is not used."),
    Source("TyDiQA", "retrieval", "google-research-datasets/tydiqa", {"query": "question", "positive": "context"},
           "Given a question, retrieve Wikipedia passages that answer the question.", config="secondary_task",
           licence="Apache-2.0",
           notes="The Hub's copy mixes nine languages; nothing here sorts them out."),
    Source("StackExchangeDuplicates", "retrieval", "sentence-transformers/stackexchange-duplicates",
           {"query": "title1", "positive": "title2"},
           "Given a question, retrieve questions that are semantically equivalent to the given question.",
           config="title-title-pair", licence="CC BY-SA 3.0",
           notes="Same sites as CQADupStack, AskUbuntuDupQuestions and StackOverflowDupQuestions: audit against "
                 "those."),
    Source("ArxivTitleAbstract", "retrieval", "mteb/raw_arxiv", {"query": "title", "positive": "abstract"},
           "Given the title of a scientific paper, retrieve its abstract.", licence="CC0 1.0",
           notes="The papers of ArxivClusteringP2P: audit against the same sets. Read a part: split: train[:300000]."),
    beir("SciFact", "mteb/scifact", "Given a scientific claim, retrieve documents that support or refute the claim.",
         licence="CC BY 4.0; abstracts ODC-By 1.0", mteb_tasks=["SciFact"], notes="919 judgements, 5,183 abstracts."),
    Source("MassiveIntentClassification", "classification", "mteb/amazon_massive_intent", LABELLED,
           "Given a user utterance as query, find the user intents.", config="en", licence="CC BY 4.0",
           mteb_tasks=["MassiveIntentClassification"],
           notes="Not in the report's mixture, but in MTEB(eng, v2): training on it costs zero-shot."),
    Source("MassiveScenarioClassification", "classification", "mteb/amazon_massive_scenario", LABELLED,
           "Given a user utterance as query, find the user scenarios.", config="en", licence="CC BY 4.0",
           mteb_tasks=["MassiveScenarioClassification"], notes="The utterances of MassiveIntentClassification."),
)

SOURCES = REPORT + NLI + MORE
