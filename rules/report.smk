report: "../workflow/report/workflow.rst"


rule report_study:
    input:
        dataset=paths.dataset_marker("{study}"),
        table=paths.table("{study}"),
        claims=lambda wildcards: [paths.claims(wildcards.study)] if outline.studies[wildcards.study].has_claims else [],
        figures=lambda wildcards: [
            paths.figure(wildcards.study, figure, "svg") for figure in outline.studies[wildcards.study].figures
        ],
    output:
        report(
            paths.report("{study}"),
            caption="../workflow/report/study.rst",
            category="Studies",
            labels={"study": "{study}", "what": "page: claims, explorer, figures"},
        ),
    log:
        paths.log("report_study", "{study}"),
    benchmark:
        paths.benchmark("report_study", "{study}")
    conda:
        "../envs/stepscape.yaml"
    threads: 1
    params:
        results=lambda wildcards: settings.results,
        path=lambda wildcards: outline.studies[wildcards.study].path,
        fingerprint=lambda wildcards: outline.studies[wildcards.study].fingerprints["report"],
    message:
        "Writing the page of {wildcards.study}"
    shell:
        "stepscape report {params.path:q} --results {params.results:q} > {log:q} 2>&1"


rule index_studies:
    input:
        outline.pages(paths),
    output:
        paths.index,
    log:
        paths.log("index_studies", "all"),
    benchmark:
        paths.benchmark("index_studies", "all")
    localrule: True
    conda:
        "../envs/stepscape.yaml"
    threads: 1
    params:
        results=lambda wildcards: settings.results,
        fingerprint=outline.index,
    message:
        "Writing the index of all studies"
    shell:
        "stepscape index --results {params.results:q} > {log:q} 2>&1"
