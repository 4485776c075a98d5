"""Problems of propositional logic: does a model deduce?"""
