report: "../workflow/report/workflow.rst"


rule report_study:
    input:
        dataset=paths.dataset_marker("{study}"),
        table=paths.table("{study}"),
        claims=lambda wildcards: [paths.claims(wildcards.study)] if plan.study(wildcards.study).claims else [],
        figures=lambda wildcards: [
            paths.figure(wildcards.study, figure.id, "svg") for figure in plan.study(wildcards.study).figures
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
        path=lambda wildcards: plan.study(wildcards.study).path,
        fingerprint=lambda wildcards: fingerprint.of_report(plan.study(wildcards.study)),
    message:
        "Writing the page of {wildcards.study}"
    shell:
        "stepscape report {params.path:q} --results {params.results:q} > {log:q} 2>&1"


rule index_studies:
    input:
        [paths.report(study.name) for study in plan.studies],
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
        fingerprint=fingerprint.code_of_pages(),
    message:
        "Writing the index of all studies"
    shell:
        "stepscape index --results {params.results:q} > {log:q} 2>&1"
